"""A policy that staff change holds on the very next request, in every process, however they change it."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import psutil
import pytest

from tests.chaos.installation import SONNET, Installation, operator_of, running_installation
from tests.stack.conftest import HOME

pytestmark = [pytest.mark.stack, pytest.mark.slow]
PROCESSES = 3
CONTENT = "[[sandbox input_tokens=1000 output_tokens=1000]]"
REFUSALS = {
    "revoke": (401, "key_revoked"),
    "suspend": (403, "tenant_suspended"),
    "take_the_model": (404, "model_not_allowed"),
    "lower_a_limit": (429, "rate_limited"),
    "change_the_tier": (429, "rate_limited"),
}


class Line:
    """One connection that stays open, and so stays with one process."""

    def __init__(self, installation: Installation, key: str) -> None:
        self._connection = http.client.HTTPConnection(installation.url.removeprefix("http://"), timeout=20)
        self._key = key

    def ask(self) -> tuple[int, str, str]:
        """Status, error code and cost of one call."""
        body = {"model": SONNET, "max_tokens": 1000, "messages": [{"role": "user", "content": CONTENT}]}
        self._connection.request("POST", "/v1/messages", json.dumps(body), {"x-api-key": self._key})
        answer = self._connection.getresponse()
        read = json.loads(answer.read())
        return answer.status, read.get("error", {}).get("code", ""), answer.headers["x-tenantry-cost-usd"]

    @property
    def port(self) -> int:
        return int(self._connection.sock.getsockname()[1])

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with running_installation(web_workers=PROCESSES) as running:
        yield running


@pytest.fixture(scope="module")
def operator(installation: Installation) -> Iterator[httpx.Client]:
    with operator_of(installation) as client:
        for name, limit in (("open", None), ("shut", 0)):
            limits = {
                "max_requests_per_minute": limit,
                "max_tokens_per_day": None,
                "monthly_budget_usd": None,
            }
            answer = client.post("/api/tiers/", json={"name": name, **limits})
            assert answer.status_code == 201, answer.text
        yield client


@pytest.fixture(scope="module")
def editor(installation: Installation) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.chaos.editor"],
        cwd=HOME,
        env=installation.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.communicate(timeout=20)


def edit(operator: httpx.Client, editor: "subprocess.Popen[str]", by: str, order: dict[str, Any]) -> None:
    if by != "api":
        assert editor.stdin is not None
        assert editor.stdout is not None
        editor.stdin.write(json.dumps({"by": by, **order}) + "\n")
        editor.stdin.flush()
        assert editor.stdout.readline() == "done\n"
        return
    tenant = f"/api/tenants/{order['slug']}/"
    match order["edit"]:
        case "revoke":
            [key] = operator.get(f"{tenant}keys/").json()["results"]
            answer = operator.delete(f"{tenant}keys/{key['id']}/")
        case "suspend":
            answer = operator.patch(tenant, json={"status": "suspended"})
        case "take_the_model":
            answer = operator.patch(tenant, json={"allowed_models": []})
        case "lower_a_limit":
            answer = operator.patch(tenant, json={"max_requests_per_minute": 0})
        case "change_the_tier":
            answer = operator.patch(tenant, json={"tier": order["tier"]})
        case _:
            usd = {"input_usd": order["usd"], "output_usd": order["usd"], "confirmed": True}
            answer = operator.post("/api/prices/", json={"model": order["model"], **usd})
    assert answer.is_success, answer.text


def lines_to_every_process(installation: Installation, key: str) -> list[Line]:
    """At least one line to each process, each used once, so that its process knows the policy."""
    lines: list[Line] = []
    web = installation.pids("web")
    assert len(web) == PROCESSES
    for _ in range(300):
        line = Line(installation, key)
        assert line.ask()[0] == 200
        lines.append(line)
        ports = {line.port for line in lines}
        served = [
            any(c.raddr and c.raddr.port in ports for c in psutil.Process(p).net_connections()) for p in web
        ]
        if all(served) and len(lines) >= 2 * PROCESSES:
            return lines
    raise RuntimeError("not every process took a connection")


def a_tenant(operator: httpx.Client, slug: str) -> str:
    """Its key."""
    body = {"slug": slug, "name": slug, "tier": "open", "allowed_models": [SONNET]}
    answer = operator.post("/api/tenants/", json=body)
    assert answer.status_code == 201, answer.text
    return str(operator.post(f"/api/tenants/{slug}/keys/", json={"name": "k"}).json()["key"])


@pytest.mark.parametrize("by", ["console", "api", "orm"])
@pytest.mark.parametrize("change", REFUSALS)
def test_the_next_request_in_every_process_is_refused(
    installation: Installation, operator: httpx.Client, editor: "subprocess.Popen[str]", change: str, by: str
) -> None:
    slug = f"{change}-{by}".replace("_", "-")
    lines = lines_to_every_process(installation, a_tenant(operator, slug))

    edit(operator, editor, by, {"edit": change, "slug": slug, "tier": "shut"})
    answers = [line.ask() for line in lines]

    assert {(status, code) for status, code, _ in answers} == {REFUSALS[change]}
    for line in lines:
        line.close()


@pytest.mark.parametrize(("by", "usd"), [("console", "4"), ("api", "5"), ("orm", "6")])
def test_the_next_request_in_every_process_has_the_new_price(
    installation: Installation, operator: httpx.Client, editor: "subprocess.Popen[str]", by: str, usd: str
) -> None:
    slug = f"price-{by}"
    lines = lines_to_every_process(installation, a_tenant(operator, slug))

    edit(operator, editor, by, {"edit": "change_the_price", "slug": slug, "model": SONNET, "usd": usd})
    answers = [line.ask() for line in lines]

    assert {(status, Decimal(cost)) for status, _, cost in answers} == {(200, Decimal(usd) / 500)}
    for line in lines:
        line.close()
