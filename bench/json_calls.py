"""JSON calls: the gateway with all its accounting compared with a bare proxy, in one run."""

from bench.load import Run, drive, generator
from bench.servers import Gateway, Server, bare_proxy, gateway, mock_upstream
from bench.table import Table

BOUNDS_MS = (5, 10, 50)
_COUNT = (
    "from django.db import connection as c; from gateway_project.ground.redis_client import store;"
    "s = store().info('commandstats'); k = c.cursor();"
    "k.execute('SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()');"
    "print(s.get('cmdstat_evalsha', {}).get('calls', 0), k.fetchone()[0])"
)


def beside_a_bare_proxy(seconds: float) -> list[Table]:
    with mock_upstream() as mock, bare_proxy(mock) as bare, gateway(mock) as ours:
        key = ours.keys()
        for server in (bare, ours):
            drive(server.url, key, connections=32, seconds=3)
        rows: list[list[object]] = []
        added = 0.0
        for connections in (1, 10, 32):
            row: list[object] = [connections]
            runs = {}
            for name, server in (("mock", mock), ("bare", bare), ("ours", ours)):
                runs[name], cpu = measured(server, key, connections=connections, seconds=seconds)
                row += [runs[name].per_second, runs[name].p50, runs[name].p95]
                if name != "mock":
                    row.append(cpu)
            row.append(f"{runs['ours'].per_second / runs['bare'].per_second:.2f}")
            row.append(f"{runs['ours'].p50 / runs['bare'].p50:.2f}")
            row.append(sum(run.failed for run in runs.values()))
            rows.append(row)
            if connections == 10:
                added = runs["ours"].p95 - runs["mock"].p95
        table = Table(
            "JSON calls, one process each",
            ["connections", "mock req/s", "p50 ms", "p95 ms", "bare req/s", "p50 ms", "p95 ms", "CPU µs",
             "gateway req/s", "p50 ms", "p95 ms", "CPU µs", "req/s ratio", "p50 ratio", "failed"],
            rows,
            f"The mock without a proxy shows what the load generator ({generator()}) can do. CPU µs are of the "
            f"proxy's own process, per request. At 10 connections the gateway adds {added:.1f} ms to the p95.",
        )  # fmt: skip
        return [
            table,
            _synced_each_second(bare, ours, key, seconds),
            _counts(ours, key, seconds),
            _bounded(ours, key, seconds),
        ]


def measured(
    server: Server, keys: list[str], *, connections: int, seconds: float, size: int = 140
) -> tuple[Run, float]:
    """A run, and the CPU microseconds of the server's processes per request."""
    before = server.cpu_seconds()
    run = drive(server.url, keys, connections=connections, seconds=seconds, size=size)
    return run, (server.cpu_seconds() - before) / max(1, run.requests) * 1e6


def _synced_each_second(bare: Server, ours: Gateway, keys: list[str], seconds: float) -> Table:
    """How long an admission waits for the disk: the same run with Redis configured like most managed services."""
    setting = "from gateway_project.ground.redis_client import store; store().config_set('appendfsync', '{}')"
    rows: list[list[object]] = []
    ours.ask(setting.format("everysec"))
    try:
        for connections in (1, 10, 32):
            beside, _ = measured(bare, keys, connections=connections, seconds=seconds)
            run, cpu = measured(ours, keys, connections=connections, seconds=seconds)
            ratios = (f"{run.per_second / beside.per_second:.2f}", f"{run.p50 / beside.p50:.2f}")
            rows.append([connections, run.per_second, run.p50, run.p95, cpu, *ratios, run.failed])
    finally:
        ours.ask(setting.format("always"))
    header = ["connections", "req/s", "p50 ms", "p95 ms", "CPU µs", "req/s ratio", "p50 ratio", "failed"]
    return Table("The same where Redis syncs once a second", header, rows)


def _counts(ours: Gateway, keys: list[str], seconds: float) -> Table:
    before = [int(number) for number in ours.ask(_COUNT).split()]
    run = drive(ours.url, keys, connections=32, seconds=seconds)
    after = [int(number) for number in ours.ask(_COUNT).split()]
    scripts, transactions = (late - early for early, late in zip(before, after, strict=True))
    return Table(
        "What one call costs elsewhere",
        ["calls", "Redis scripts a call", "PostgreSQL transactions a call (all processes)", "RSS MB"],
        [[run.requests, scripts / run.requests, transactions / run.requests, ours.rss_mb()]],
        "Transactions are those of the drain and the tasks; `tests/proxy/test_hot_path.py` shows that a call makes "
        "two Redis commands and no SQL statement.",
    )


def _bounded(ours: Gateway, keys: list[str], seconds: float) -> Table:
    best = dict.fromkeys(BOUNDS_MS, (0.0, 0))
    for connections in (1, 2, 4, 8, 16, 32, 64):
        run = drive(ours.url, keys, connections=connections, seconds=seconds / 2)
        for bound in BOUNDS_MS:
            if run.p99 <= bound:
                best[bound] = max(best[bound], (run.per_second, connections))
    return Table(
        "Requests a second at a bound on p99, all budgets and accounts on",
        ["p99 at most, ms", "req/s", "connections"],
        [[bound, *best[bound]] for bound in BOUNDS_MS],
    )
