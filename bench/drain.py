"""How fast the drain writes events into PostgreSQL, how much of that is the hash chain, and how far it lags.

`python -m bench.drain` is one run against the stores of its environment, which the functions here start.
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from bench.servers import HOME, free_port
from bench.table import Table

EVENTS, TENANTS, ROUNDS = 30_000, 40, 4
PACE = 2_000


def throughput_and_lag(seconds: float) -> list[Table]:
    with _stores() as environment:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "bench.drain", str(seconds)],
            cwd=HOME, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    settings = ", ".join(f"{name}={value}" for name, value in found["postgres"].items())
    with_chain, without = found["with"], found["without"]
    cost = sum(cpu for _, cpu in with_chain) / sum(cpu for _, cpu in without) - 1
    return [
        Table(
            "Drain: events a second into PostgreSQL, one ledger process",
            ("", *(f"round {number}" for number in range(1, ROUNDS + 1)), "CPU µs an event"),
            [_line("with the hash chain", with_chain), _line("without", without)],
            f"{EVENTS:,} events of {TENANTS} tenants a round, by turns; {settings}; Redis appendfsync=always. "
            f"The chain costs {cost:.1%} of CPU. Verified afterwards: {found['verified_rows']:,} rows, "
            f"{found['verify_rows_s']:,.0f} rows/s.",
        ),
        Table(
            f"Drain: lag at {PACE:,} events/s",
            ("events", "p50 ms", "p99 ms", "most ms"),
            [(found["paced"], *found["lag_ms"])],
            "Age of the oldest event that is not committed and acknowledged, looked at every 10 ms.",
        ),
    ]


def _line(name: str, rounds: list[tuple[float, float]]) -> tuple[object, ...]:
    return (name, *(rate for rate, _ in rounds), sum(cpu for _, cpu in rounds) / len(rounds))


@contextlib.contextmanager
def _stores() -> Iterator[dict[str, str]]:
    """A PostgreSQL with default settings (fsync on) and a Redis, both started for this."""
    sys.path.insert(0, str(HOME))
    from gateway_project.server.embedded import redis_command
    from gateway_project.server.embedded_postgres import EmbeddedPostgres

    home = Path(tempfile.mkdtemp(prefix="tenantry-bench-", dir="/tmp"))
    home.chmod(0o755)
    postgres, socket = EmbeddedPostgres(home), home / f"redis-{free_port()}.sock"
    postgres.launch()
    url = postgres.wait_until_ready()
    redis = subprocess.Popen(redis_command(home / "redis", socket), stdout=subprocess.DEVNULL)
    try:
        yield {
            **os.environ, "DATABASE_URL": url, "REDIS_URL": f"unix://{socket}?db=0", "DATA_DIR": str(home),
            "DEBUG": "1", "SECRET_KEY": "bench" * 10,
        }  # fmt: skip
    finally:
        redis.terminate()
        redis.wait(15)
        postgres.stop()
        shutil.rmtree(home, ignore_errors=True)


def _fill(count: int, tenants: int = TENANTS) -> None:
    """Put events, as calls leave them, into the streams of their shards."""
    from billing.events import UsageEvent, encode
    from billing.request_ids import new_request_id
    from billing.usage import Usage
    from gateway_project.ground.redis_client import store
    from gateway_project.ground.redis_keys import shard_of, usage_stream

    with store().pipeline(transaction=False) as pipeline:
        for _ in range(count):
            tenant = random.randint(1, tenants)
            event = UsageEvent(
                request_id=new_request_id(), tenant_id=tenant, key_id=tenant, day=time.strftime("%Y-%m-%d"),
                period_start=time.strftime("%Y-%m-01"), wire="anthropic", cost_nano=random.randint(1, 10**7),
                model=random.choice(["claude-sonnet-4", "claude-opus-4", "gpt-4o"]), upstream_cost_nano=5_000_000,
                usage=Usage(input_tokens=1000, output_tokens=random.randint(1, 900)), route="requested",
                end_user=f"user-{random.randint(1, 500)}", model_requested="claude-sonnet-4", http_status=200,
                latency_ms=random.randint(200, 20_000), ttft_ms=300, tags={"feature": "chat"},
                upstream_request_id="req_0123456789abcdef",
            )  # fmt: skip
            pipeline.xadd(usage_stream(shard_of(tenant)), {"e": encode(event), "crossed": "", "spent": 1})
        pipeline.execute()


def _drained(count: int) -> tuple[float, float]:
    """Events a second through the drain alone, and CPU µs an event in it and in PostgreSQL together."""
    from billing.ledger.drain import drain_all

    for _ in range(count // 5000):
        _fill(5000)
    began, cpu = time.perf_counter(), _cpu_seconds()
    done = drain_all()
    return done / (time.perf_counter() - began), (_cpu_seconds() - cpu) / done * 1e6


def _cpu_seconds() -> float:
    postmaster = int((Path(os.environ["DATA_DIR"]) / "postgres" / "postmaster.pid").read_text().split()[0])
    used = time.process_time()
    for process in psutil.Process(postmaster).children():
        with contextlib.suppress(psutil.Error):
            used += sum(process.cpu_times()[:2])
    return used


def _lag(seconds: float) -> tuple[int, list[float]]:
    """`manage.py ledger` beside a writer of `PACE` events a second."""
    from gateway_project.ground.redis_client import store
    from gateway_project.ground.redis_keys import every_shard, usage_stream

    writer = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "bench.drain", "write", str(seconds)], cwd=HOME
    )
    posting = subprocess.Popen([sys.executable, "-W", "ignore", "manage.py", "ledger"], cwd=HOME)
    lags = []
    try:
        time.sleep(3)  # both are up
        while writer.poll() is None:
            with store().pipeline(transaction=False) as pipeline:
                for shard in every_shard():
                    pipeline.xrange(usage_stream(shard), count=1)
                oldest = [int(entries[0][0].split(b"-")[0]) for entries in pipeline.execute() if entries]
            lags.append(max(0.0, time.time() * 1000 - min(oldest)) if oldest else 0.0)
            time.sleep(0.01)
    finally:
        writer.wait()
        posting.terminate()
        posting.wait(30)
    return int(seconds * PACE), lags


def _write(seconds: float) -> None:
    began, written = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        due = int(passed * PACE) - written
        if due > 0:
            _fill(due)
            written += due
        time.sleep(0.01)


def _measure(seconds: float) -> None:
    from django.core.management import call_command
    from django.db import connection

    from billing.ledger import posting
    from billing.ledger.verify import verify

    call_command("migrate", verbosity=0, interactive=False)
    sealing, take_turn = posting.sealing, posting.take_turn
    runs: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}

    def switch(name: str) -> None:
        on = name == "with"
        no_seal: Callable[..., object] = lambda *_: "nothing AS (SELECT)"  # noqa: E731
        posting.sealing = sealing if on else no_seal  # type: ignore[assignment]
        posting.take_turn = take_turn if on else (lambda *_: None)

    _drained(5000)
    for number in range(ROUNDS):
        for name in ("with", "without") if number % 2 else ("without", "with"):
            switch(name)
            runs[name].append(_drained(EVENTS))
    switch("with")
    began = time.perf_counter()
    verified = verify()
    verify_seconds = time.perf_counter() - began
    with connection.cursor() as cursor:
        names = ("fsync", "synchronous_commit")
        postgres = {}
        for name in names:
            cursor.execute(f"SHOW {name}")
            postgres[name] = cursor.fetchone()[0]
    paced, lags = _lag(seconds)
    lags.sort()
    found = {
        **runs, "postgres": postgres, "verified_rows": verified.rows, "verify_rows_s": verified.rows / verify_seconds,
        "paced": paced, "lag_ms": [lags[len(lags) // 2], lags[int(len(lags) * 0.99)], lags[-1]],
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
    django.setup()
    if sys.argv[1] == "write":
        _write(float(sys.argv[2]))
    else:
        _measure(float(sys.argv[1]))
