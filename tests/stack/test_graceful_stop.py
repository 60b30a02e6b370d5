"""A web process that is asked to stop lets its streams end, and what it served is in the ledger."""

import os
import signal
import threading
import time
from decimal import Decimal

import httpx
import pytest

from tests.chaos.installation import SONNET, operator_of, running_installation

pytestmark = [pytest.mark.stack, pytest.mark.slow]


@pytest.fixture(scope="module")
def installation():
    with running_installation(web_workers=2) as running:
        yield running


def a_key(operator: httpx.Client) -> str:
    operator.post(
        "/api/tenants/",
        json={"slug": "graceful", "name": "Graceful", "tier": "pro", "allowed_models": [SONNET]},
    )
    key: str = operator.post("/api/tenants/graceful/keys/", json={"name": "one"}).json()["key"]
    return key


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
