"""One fault after the other under load; after each, the ledger is what the upstream billed.

The quick ones run with the suite; `make chaos` runs all of them and writes what was seen.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.chaos.installation import Installation, ledger_rows, make_key, operator_of, running_installation
from tests.chaos.load import Load
from tests.chaos.report import Finding, write

pytestmark = [pytest.mark.stack, pytest.mark.slow]
Fault = Callable[[Installation, Load], None]


def kill_a_web_process_in_mid_json(installation: Installation, load: Load) -> None:
    installation.kill_busiest_web()
    until(lambda: load.seen.cut_off > 0)


def kill_a_web_process_in_mid_stream(installation: Installation, load: Load) -> None:
    installation.kill_busiest_web()
    until(lambda: load.seen.cut_off > 0)


def kill_the_ledger(installation: Installation, load: Load) -> None:
    for _ in range(2):
        installation.kill("ledger")
        time.sleep(2)


def kill_the_ledger_between_insert_and_acknowledge(installation: Installation, load: Load) -> None:
    """A deferred trigger holds its COMMIT up; it is stopped before that is let go, so that it commits and can't
    acknowledge."""
    with installation.postgres() as postgres, installation.postgres() as watcher:
        postgres.autocommit = watcher.autocommit = True
        postgres.execute(
            "CREATE FUNCTION chaos_wait() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END'"
        )
        postgres.execute(
            "CREATE CONSTRAINT TRIGGER chaos AFTER INSERT ON billing_ledgerbatch DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION chaos_wait()"
        )
        postgres.execute("SELECT pg_advisory_lock(4711)")
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND objid = 4711"
        until(lambda: scalar(watcher, waits) > 0)
        before = scalar(watcher, "SELECT count(*) FROM billing_ledgerbatch")
        with installation.frozen("ledger"):
            postgres.execute("SELECT pg_advisory_unlock(4711)")
            until(lambda: scalar(watcher, "SELECT count(*) FROM billing_ledgerbatch") > before)
            client = installation.redis()
            assert any(client.xpending(f"{{s{shard}}}:usage", "ledger")["pending"] for shard in range(4))
            installation.kill("ledger")
        postgres.execute("DROP TRIGGER chaos ON billing_ledgerbatch")
        postgres.execute("DROP FUNCTION chaos_wait")


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


def restart_postgres(installation: Installation, load: Load) -> None:
    os.kill(installation.pids("postgres")[0], signal.SIGINT)  # its fast shutdown; it is started again
    time.sleep(3)


def kill_postgres(installation: Installation, load: Load) -> None:
    installation.kill("postgres")
    time.sleep(3)


def freeze_postgres_for_10_seconds(installation: Installation, load: Load) -> None:
    installation.freeze("postgres", 10)


def kill_worker_and_beat(installation: Installation, load: Load) -> None:
    installation.kill("beat")
    installation.kill("worker")


def kill_a_worker_in_mid_delivery(installation: Installation, load: Load) -> None:
    receiver = installation.receiver
    receiver.came.clear()
    receiver.gate.clear()
    with operator_of(installation) as operator:
        hook = operator.post(
            "/api/webhooks/", json={"tenant": None, "url": receiver.url, "events": ["key.created"]}
        ).json()
        operator.post("/api/tenants/steady/keys/", json={"name": f"chaos {time.time()}"})
        until(lambda: len(receiver.came) > 0, seconds=60)
        for pid in installation.pids("worker"):
            os.kill(pid, signal.SIGKILL)
        receiver.gate.set()
        url = f"/api/webhooks/{hook['id']}/deliveries/"
        # A claim is given up after a minute; then another worker delivers what this one had begun.
        until(
            lambda: {each["status"] for each in operator.get(url).json()["results"]} == {"delivered"},
            seconds=150,
        )
        operator.delete(f"/api/webhooks/{hook['id']}/")
    assert len({headers["webhook-id"] for headers, _ in receiver.came}) == 1
    assert len(receiver.came) >= 2


def two_ledgers_at_once(installation: Installation, load: Load) -> None:
    with installation.also_running("manage.py", "ledger"):
        load.wait_for(served=120)
        installation.kill("ledger")
        load.wait_for(served=60)


def two_beats_at_once(installation: Installation, load: Load) -> None:
    schedule = str(installation.home / "second-beat")
    beat = ("-m", "celery", "-A", "gateway_project", "--quiet", "beat", "--schedule", schedule)
    with installation.also_running(*beat):
        load.wait_for(served=120, seconds=60)
        time.sleep(6)  # each of them has sent what is due every five seconds


def everything_within_seconds(installation: Installation, load: Load) -> None:
    """In the order in which nothing may be lost: what a flush took is put back before who remembers it dies."""
    installation.redis().flushall()
    time.sleep(5)
    installation.kill("web")
    installation.kill("ledger")
    time.sleep(3)
    installation.kill("redis")


QUICK: list[Fault] = [
    kill_a_web_process_in_mid_json,
    kill_a_web_process_in_mid_stream,
    kill_the_ledger_between_insert_and_acknowledge,
    flush_redis,
    kill_redis,
]
LONG: list[Fault] = [
    kill_the_ledger,
    freeze_redis_for_5_seconds,
    evict_every_counter,
    restart_postgres,
    kill_postgres,
    freeze_postgres_for_10_seconds,
    kill_worker_and_beat,
    kill_a_worker_in_mid_delivery,
    two_ledgers_at_once,
    two_beats_at_once,
    everything_within_seconds,
]
KINDS: dict[Fault, str] = {kill_a_web_process_in_mid_json: "json", kill_a_web_process_in_mid_stream: "stream"}


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def scalar(postgres: "psycopg.Connection[Any]", query: str) -> int:
    row = postgres.execute(query).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with running_installation() as running:
        yield running


@pytest.fixture(scope="module")
def keys(installation: Installation) -> list[str]:
    with operator_of(installation) as operator:
        return [make_key(operator, slug) for slug in ("steady", "busy")]


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
    with Load([installation.url], keys, kind=KINDS.get(fault, "both")) as load:
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
    assert finding.short == 0, finding
    assert load.seen.cut_off == 0 or finding.estimated > 0 or fault not in KINDS, finding
    assert books["ok"], books
    assert not [each for each in books["tenants"] if float(each["reserved_usd"])], books
