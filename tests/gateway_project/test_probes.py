"""What an orchestrator and Prometheus ask, as they ask it: by a pod's address, over plain http."""

import asyncio
import json
import subprocess
import sys
import threading

import httpx
import pytest

from gateway_project import probes
from gateway_project.asgi import application
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import BREAKER_BOARD
from tests.sandbox import free_port
from tests.security.test_settings import GOOD, HOME

POD = ("10.1.2.3", 40000)


def asked(client: tuple[str, int] = POD, base: str = "http://10.1.2.3:8000") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(application, client=client), base_url=base)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("host", ["10.1.2.3:8000", "", "evil.example.com", "[::1]", "a" * 300])
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_a_probe_is_answered_whatever_the_host(path, host, settings, redis_server):
    settings.ALLOWED_HOSTS = ["gateway.example.com"]
    settings.SECURE_SSL_REDIRECT = True
    settings.METRICS_TOKEN = "long-random-token"
    headers = {"host": host, "authorization": "Bearer long-random-token"}

    async with asked() as client:
        answer = await client.get(path, headers=headers)
        head = await client.head(path, headers=headers)

    expected = 503 if path == "/readyz" else 200  # the meter of an emptied Redis warms up
    assert (answer.status_code, head.status_code) == (expected, expected)
    assert answer.content
    assert head.content == b""
    if path != "/metrics":
        assert head.headers["content-length"] == str(len(answer.content))


async def test_a_probe_is_read_and_never_written():
    async with asked() as client:
        answer = await client.post("/healthz")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.django_db(transaction=True)
async def test_readiness_tells_a_stranger_nothing_of_upstreams_and_models(redis_server):
    board = {"secret-upstream claude-x 1": json.dumps({"state": "open"})}
    store().hset(BREAKER_BOARD, mapping=board)

    async with asked() as client:
        answer = await client.get("/readyz")

    assert {"status", "postgresql", "redis"} <= set(answer.json())
    assert "secret-upstream" not in answer.text
    assert "claude-x" not in answer.text


async def test_who_probes_at_once_shares_one_question_and_stops_no_loop(monkeypatch):
    began, go_on, questions = threading.Event(), threading.Event(), []

    def slow():
        questions.append(1)
        began.set()
        go_on.wait(10)
        return 200, {"status": "ok"}

    monkeypatch.setattr(probes, "readiness", slow)
    async with asked() as client:
        ready = [asyncio.create_task(client.get("/readyz")) for _ in range(20)]
        await asyncio.to_thread(began.wait, 10)
        alive = await client.get("/healthz")  # while the stores are silent
        ready[0].cancel()  # one who leaves takes nothing from the others
        go_on.set()
        answers = await asyncio.gather(*ready[1:])

    assert alive.status_code == 200
    assert {answer.status_code for answer in answers} == {200}
    assert len(questions) == 1


async def test_stores_that_never_answer_are_unavailable(monkeypatch):
    hanging = threading.Event()
    monkeypatch.setattr(probes, "readiness", lambda: hanging.wait(10))
    monkeypatch.setattr(probes, "ANSWER_SECONDS", 0.05)

    async with asked() as client:
        answer = await client.get("/readyz")
    hanging.set()

    assert answer.status_code == 503


@pytest.mark.django_db(transaction=True)
async def test_metrics_are_for_this_machine_or_for_the_token(settings, redis_server):
    here = ("127.0.0.1", 40000)
    async with asked(here) as local, asked() as elsewhere:
        assert (await local.get("/metrics")).status_code == 200
        for header in ("x-forwarded-for", "forwarded", "x-real-ip", "via"):
            assert (await local.get("/metrics", headers={header: "203.0.113.9"})).status_code == 403
        assert (await elsewhere.get("/metrics")).status_code == 403
        settings.METRICS_TOKEN = "long-random-token"
        assert (await local.get("/metrics")).status_code == 403
        answer = await elsewhere.get("/metrics", headers={"authorization": "Bearer long-random-token"})

    assert b'tenantry_up{store="redis"} 1.0' in answer.content
    assert b"tenantry_drain_lag_seconds" in answer.content


def test_probes_of_a_public_installation_need_neither_its_name_nor_tls(monkeypatch):
    """In a process of its own, with what production sets; no store is there."""
    port = free_port()
    environment = GOOD | {
        "PATH": "/usr/bin:/bin",
        "DATA_DIR": "/nonexistent",
        "DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/none",
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "PORT": str(port),
        "HOST": "127.0.0.1",
    }
    web = subprocess.Popen([sys.executable, "-m", "gateway_project.web"], cwd=HOME, env=environment)
    try:
        with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=20) as client:
            alive = client.get(f"http://127.0.0.1:{port}/healthz", headers={"host": f"10.9.8.7:{port}"})
            ready = client.get(f"http://127.0.0.1:{port}/readyz", headers={"host": f"10.9.8.7:{port}"})
    finally:
        web.terminate()
        web.wait(60)

    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()["postgresql"]) == (503, "unavailable")
