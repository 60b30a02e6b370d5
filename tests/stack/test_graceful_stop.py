"""A web process that is asked to stop lets its calls end, one that is replaced refuses none, and what was served is in
the ledger.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.chaos.installation import (
    SONNET,
    Installation,
    ledger_rows,
    make_key,
    operator_of,
    running_installation,
)
from tests.sandbox import free_port
from tests.stack.conftest import HOME

pytestmark = [pytest.mark.stack, pytest.mark.slow]
WEB = [sys.executable, "-W", "ignore", "-m", "gateway_project.web"]


@pytest.fixture(scope="module")
def installation():
    with running_installation(web_workers=1) as running:
        yield running


def a_key(operator: httpx.Client) -> str:
    operator.post(
        "/api/tenants/",
        json={"slug": "graceful", "name": "Graceful", "tier": "pro", "allowed_models": [SONNET]},
    )
    key: str = operator.post("/api/tenants/graceful/keys/", json={"name": "one"}).json()["key"]
    return key


def asking(directive: str, *, stream: bool = False) -> dict[str, object]:
    return {
        "model": SONNET,
        "max_tokens": 200,
        "stream": stream,
        "messages": [{"role": "user", "content": f"[[sandbox {directive}]]"}],
    }


class Load:
    """Callers that never pause, some on connections they keep and some on a new one each time, and streams by turns."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.headers = url, {"x-api-key": key}
        self.seen: Counter[str] = Counter()
        self._over = threading.Event()
        self._callers = [threading.Thread(target=self._call, args=(number,)) for number in range(6)]

    def __enter__(self) -> "Load":
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        for caller in self._callers:
            caller.join(60)

    def _call(self, number: int) -> None:
        streams = number % 3 == 2
        body = asking(
            "output_tokens=20 deltas=20 delta_ms=50" if streams else "output_tokens=5", stream=streams
        )
        with httpx.Client(base_url=self.url, headers=self.headers, timeout=60) as kept:
            while not self._over.is_set():
                try:
                    # As HTTP/1.1 clients do: a kept connection that was closed under the request is no refusal.
                    client = (
                        kept
                        if number % 2
                        else httpx.Client(base_url=self.url, headers=self.headers, timeout=60)
                    )
                    answer = client.post("/v1/messages", json=body)
                    whole = "message_stop" in answer.text if streams else answer.status_code == 200
                    self.seen["whole" if whole else f"{answer.status_code} {answer.text[-200:]}"] += 1
                except httpx.HTTPError as error:
                    self.seen[f"{'kept' if number % 2 else 'new'}: {error!r}"] += 1
                finally:
                    if client is not kept:
                        client.close()


def until(condition, seconds: float = 90) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.1)


@contextlib.contextmanager
def web(
    installation: Installation, *command: str, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """One more web process of the installation, or a supervisor of some, and its address."""
    port = free_port()
    given = {**installation.environment, "HOST": "127.0.0.1", "PORT": str(port), **environment}
    running = subprocess.Popen(
        command or WEB, cwd=HOME, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(url))
        yield running, url
    finally:
        if running.poll() is None:
            running.terminate()
        running.communicate(timeout=60)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def children(process: subprocess.Popen[str]) -> list[int]:
    return sorted(child.pid for child in psutil.Process(process.pid).children())


def test_streams_in_flight_end_whole_when_every_web_process_is_asked_to_stop(installation):
    operator = operator_of(installation)
    key = a_key(operator)
    streamed: list[str] = []

    def stream() -> None:
        directive = "[[sandbox input_tokens=1000 output_tokens=40 deltas=40 delta_ms=100]]"
        body = {
            "model": SONNET,
            "max_tokens": 200,
            "stream": True,
            "messages": [{"role": "user", "content": directive}],
        }
        with httpx.stream(
            "POST", f"{installation.url}/v1/messages", json=body, headers={"x-api-key": key}, timeout=60
        ) as answer:
            streamed.append("".join(answer.iter_text()))

    callers = [threading.Thread(target=stream) for _ in range(8)]
    for caller in callers:
        caller.start()
    time.sleep(1.5)
    for pid in installation.pids("web"):
        os.kill(pid, signal.SIGTERM)
    for caller in callers:
        caller.join(60)

    assert len(streamed) == 8
    assert all("message_stop" in text for text in streamed)
    books = installation.until_quiet()
    rows = operator.get("/api/usage/", params={"tenant": "graceful"}).json()["results"]
    assert books["ok"]
    assert [(row["status"], row["estimated"]) for row in rows] == [("ok", False)] * 8
    assert all(Decimal(row["cost_usd"]) > 0 for row in rows)


def test_a_web_process_is_replaced_under_load_and_no_call_is_lost(installation):
    key = make_key(operator_of(installation), "rolled")
    [old] = installation.pids("web")
    with Load(installation.url, key) as load:
        time.sleep(2)
        os.kill(installation.up.pid, signal.SIGUSR2)
        until(lambda: installation.pids("web") not in ([old], []) and not psutil.pid_exists(old))
        time.sleep(2)

    assert set(load.seen) == {"whole"}, load.seen
    assert load.seen["whole"] > 50
    assert installation.until_quiet()["ok"]
    rows = [row for row in ledger_rows(installation).values() if row["tenant"] == "rolled"]
    assert len(rows) == load.seen["whole"]
    assert {row["status"] for row in rows} == {"ok"}


def test_several_web_processes_from_one_command_start_again_roll_and_stop(installation):
    key = make_key(operator_of(installation), "several")
    with web(installation, WEB_WORKERS="2") as (running, url):
        until(lambda: len(children(running)) == 2)
        os.kill(children(running)[0], signal.SIGKILL)
        until(lambda: len(children(running)) == 2)
        before = children(running)
        time.sleep(5)  # the one that was started again serves
        with Load(url, key) as load:
            os.kill(running.pid, signal.SIGUSR2)
            until(lambda: len(children(running)) == 2 and not set(children(running)) & set(before))
        running.terminate()
        running.communicate(timeout=60)

    assert set(load.seen) == {"whole"}, load.seen
    assert running.returncode == 0


# In a process of its own: descriptor 3 of this one is somebody's.
AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_a_socket_that_systemd_opened_is_served(installation):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        running = subprocess.Popen(
            [sys.executable, "-c", AS_SYSTEMD, str(listener.fileno()), *WEB],
            cwd=HOME,
            env=installation.environment,
            pass_fds=(listener.fileno(),),
        )
        try:
            until(lambda: answers(url))
        finally:
            running.terminate()
            running.wait(60)

    assert running.returncode == 0


def test_a_stream_that_outlasts_the_grace_is_told_so_and_a_second_signal_does_not_wait(installation):
    key = make_key(operator_of(installation), "cut")
    told = []
    for grace, signals in (("1", 1), ("600", 2)):
        with web(installation, SHUTDOWN_GRACE_SECONDS=grace) as (running, url):
            with httpx.stream(
                "POST",
                f"{url}/v1/messages",
                json=asking("output_tokens=100 deltas=100 delta_ms=500", stream=True),
                headers={"x-api-key": key},
                timeout=60,
            ) as answer:
                pieces = answer.iter_text()
                next(pieces)
                for _ in range(signals):
                    running.terminate()
                    time.sleep(0.5)
                told.append("".join(pieces))
            running.communicate(timeout=60)

    assert all('"code":"gateway_stopping"' in text for text in told)
    assert all("message_stop" not in text for text in told)
    assert installation.until_quiet()["ok"]
    rows = [row for row in ledger_rows(installation).values() if row["tenant"] == "cut"]
    assert [row["status"] for row in rows] == ["cancelled"] * 2
    assert all(row["output_tokens"] < 40 for row in rows)


def test_calls_that_redis_cannot_settle_at_the_end_are_settled_exactly_by_the_next_process(installation):
    key = make_key(operator_of(installation), "late")
    with web(installation, SHUTDOWN_GRACE_SECONDS="5") as (running, url):
        done: list[int] = []

        def call() -> None:
            body = asking("output_tokens=7 latency_ms=5000")
            answer = httpx.post(f"{url}/v1/messages", json=body, headers={"x-api-key": key}, timeout=60)
            done.append(answer.status_code)

        callers = [threading.Thread(target=call) for _ in range(5)]
        for caller in callers:
            caller.start()
        store = installation.redis()
        until(lambda: sum(store.hlen(name) for name in store.scan_iter("*:leases")) == 5, seconds=20)
        time.sleep(0.5)
        with installation.frozen("redis"):
            for caller in callers:
                caller.join(60)
            running.terminate()
            output, _ = running.communicate(timeout=60)

    assert done == [200] * 5
    assert "ERROR tenantry.proxy: 5 settles could not be delivered" in output
    assert installation.until_quiet()["ok"]
    rows = [row for row in ledger_rows(installation).values() if row["tenant"] == "late"]
    assert [(row["status"], row["estimated"], row["output_tokens"]) for row in rows] == [("ok", False, 7)] * 5
    assert not list((installation.home / "unsettled").iterdir())


NGINX = """
daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream tenantry {{ server {first}; server {second}; keepalive 128; }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        location / {{
            proxy_pass http://tenantry;
            proxy_buffering off;
            proxy_next_upstream error;  # a POST goes to the next server only where nothing of it was sent
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, first: str, second: str) -> Iterator[str]:
    port = free_port()
    places = {"first": urlsplit(first).netloc, "second": urlsplit(second).netloc}
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, **places))
    running = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}"))
        yield f"http://127.0.0.1:{port}"
    finally:
        running.send_signal(signal.SIGQUIT)
        running.wait(30)


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_behind_nginx_a_web_process_that_stops_is_not_missed(installation, tmp_path):
    key = make_key(operator_of(installation), "proxied")
    with (
        web(installation) as (_, first),
        web(installation) as (stopped, second),
        nginx(tmp_path, first, second) as url,
        Load(url, key) as load,
    ):
        time.sleep(3)
        stopped.terminate()
        stopped.communicate(timeout=60)
        time.sleep(2)

    assert set(load.seen) == {"whole"}, load.seen
    assert stopped.returncode == 0
    assert installation.until_quiet()["ok"]
    rows = [row for row in ledger_rows(installation).values() if row["tenant"] == "proxied"]
    assert (len(rows), {row["status"] for row in rows}) == (load.seen["whole"], {"ok"})
