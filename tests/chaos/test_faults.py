"""One fault after the other under load; after each, the ledger is what the upstream billed.

The quick ones run with the suite; `make chaos` runs all of them and writes what was seen.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.installation import SONNET, Installation, operator_of, running_installation
from tests.chaos.load import Load
from tests.chaos.report import Finding, write

pytestmark = pytest.mark.stack
Fault = Callable[[Installation, Load], None]


def kill_a_web_process(installation: Installation, load: Load) -> None:
    installation.kill("web")


def kill_the_ledger(installation: Installation, load: Load) -> None:
    for _ in range(2):
        installation.kill("ledger")
        time.sleep(2)


def flush_redis(installation: Installation, load: Load) -> None:
    installation.redis().flushall()


def kill_redis(installation: Installation, load: Load) -> None:
    installation.kill("redis")


def freeze_redis_for_5_seconds(installation: Installation, load: Load) -> None:
    installation.freeze("redis", 5)


def evict_every_counter(installation: Installation, load: Load) -> None:
    client = installation.redis()
    for _ in range(5):
        for pattern in ("*:b:*", "*:d:*"):
            for name in client.scan_iter(pattern):
                client.delete(name)
        time.sleep(0.3)


def kill_postgres(installation: Installation, load: Load) -> None:
    installation.kill("postgres")
    time.sleep(3)


def freeze_postgres_for_10_seconds(installation: Installation, load: Load) -> None:
    installation.freeze("postgres", 10)


def kill_worker_and_beat(installation: Installation, load: Load) -> None:
    installation.kill("beat")
    installation.kill("worker")


def a_second_ledger(installation: Installation, load: Load) -> None:
    installation.manage("ledger", "--once")
    installation.manage("ledger", "--once")


def everything_at_once(installation: Installation, load: Load) -> None:
    installation.kill("web")
    installation.kill("ledger")
    installation.redis().flushall()
    time.sleep(3)
    installation.kill("redis")


QUICK = [kill_a_web_process, kill_the_ledger, flush_redis, kill_redis]
LONG = [
    freeze_redis_for_5_seconds,
    evict_every_counter,
    kill_postgres,
    freeze_postgres_for_10_seconds,
    kill_worker_and_beat,
    a_second_ledger,
    everything_at_once,
]


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with running_installation() as running:
        yield running


@pytest.fixture(scope="module")
def keys(installation: Installation) -> list[str]:
    """Two tenants with room for everything, so that each is missed if it loses a call."""
    made = []
    with operator_of(installation) as operator:
        for slug in ("steady", "busy"):
            body: dict[str, Any] = {
                "slug": slug,
                "name": slug,
                "tier": "enterprise",
                "allowed_models": [SONNET],
            }
            body |= {"max_requests_per_minute": 100_000, "monthly_budget_usd": "1000"}
            body["max_tokens_per_day"] = 10**12
            answer = operator.post("/api/tenants/", json=body)
            assert answer.status_code == 201, answer.text
            made.append(operator.post(f"/api/tenants/{slug}/keys/", json={"name": "c"}).json()["key"])
    return made


@pytest.fixture(scope="module")
def findings() -> Iterator[list[Finding]]:
    found: list[Finding] = []
    yield found
    if report := os.environ.get("CHAOS_REPORT"):
        write(Path(report), found)


@pytest.mark.parametrize(
    "fault",
    [*QUICK, *(pytest.param(each, marks=pytest.mark.chaos) for each in LONG)],
    ids=lambda f: f.__name__,
)
def test_the_ledger_is_what_the_upstream_billed(
    installation: Installation, keys: list[str], findings: list[Finding], fault: Fault
) -> None:
    before = set(installation.billed())
    with Load(installation.url, keys) as load:
        load.wait_for(served=40)
        fault(installation, load)
        load.wait_for(served=80)
    books = installation.until_quiet()
    billed = {name: call for name, call in installation.billed().items() if name not in before}
    rows = ledger_rows(installation)
    finding = Finding.of(fault.__name__, load.seen, billed, rows, books)
    findings.append(finding)

    assert load.seen.served >= 40
    assert finding.missing == 0, finding
    assert finding.wrong == 0, finding
    assert finding.unexplained == 0, finding
    assert books["ok"], books
    assert not [each for each in books["tenants"] if float(each["reserved_usd"])], books


def ledger_rows(installation: Installation) -> dict[str, dict[str, Any]]:
    """Every ledger row by request id; the primary key keeps a second one out."""
    with operator_of(installation) as operator:
        rows: dict[str, dict[str, Any]] = {}
        url: str | None = "/api/usage?page_size=1000"
        while url:
            page = operator.get(url).json()
            rows |= {row["request_id"]: row for row in page["results"]}
            url = page["next"]
    return rows
