"""Whether costs stay flat with more tenants, longer windows, larger bodies and more processes."""

import os

from bench.json_calls import measured
from bench.load import drive
from bench.servers import Gateway, bare_proxy, gateway, mock_upstream
from bench.table import Table


def memory(seconds: float) -> list[Table]:
    with mock_upstream() as mock, gateway(mock) as ours:
        keys = ours.keys()
        drive(ours.url, keys, connections=32, seconds=5)
        rows, calls, first = [], 0, ours.rss_mb()
        while calls < 100_000:
            calls += drive(ours.url, keys, connections=32, seconds=seconds).requests
            rows.append([calls, ours.rss_mb(), f"{(ours.rss_mb() / first - 1) * 100:+.1f} %"])
        return [Table("Memory of one web process", ["calls", "RSS MB", "against the start"], rows)]


def _each_once(ours: Gateway, keys: list[str]) -> None:
    """Call once with every key, so that policies and counters are loaded before the measurement."""
    seconds = 3.0
    while (run := drive(ours.url, keys, connections=32, seconds=seconds)).requests < len(keys):
        seconds *= len(keys) / max(1, run.requests) * 1.5


def tenants(seconds: float) -> list[Table]:
    """A hundred thousand tenants exist, and as many call as a process sees in some time."""
    rows: list[list[object]] = []
    with mock_upstream() as mock, gateway(mock) as ours:
        base, all_keys = 0.0, list[str]()
        for exist, calling in ((1, 1), (1_000, 1_000), (100_000, 1_000), (100_000, 10_000)):
            if len(all_keys) < exist:
                all_keys = ours.keys(exist)
            keys = all_keys[:calling]
            _each_once(ours, keys)
            run, cpu = measured(ours, keys, connections=32, seconds=seconds)
            base = base or cpu
            rows.append([exist, calling, run.per_second, cpu, f"{cpu / base:.2f}", ours.rss_mb(), run.failed])
    header = ["tenants", "calling, in turn", "req/s", "CPU µs", "ratio", "RSS MB", "failed"]
    return [Table("Tenants", header, rows)]


def windows(seconds: float) -> list[Table]:
    """The same traffic through ever longer windows, spread over enough tenants that nobody is refused."""
    rows: list[list[object]] = []
    with mock_upstream() as mock, gateway(mock) as ours:
        base = 0.0
        for rpm in (0, 60, 600, 6_000, 60_000):
            keys = ours.keys(240_000 // rpm if rpm else 1, rpm)
            _each_once(ours, keys)
            run, cpu = measured(ours, keys, connections=32, seconds=seconds)
            base = base or cpu
            rows.append([rpm or "no limit", len(keys), run.per_second, cpu, f"{cpu / base:.2f}", run.failed])
    header = ["requests/min", "tenants in turn", "req/s", "CPU µs", "ratio", "failed"]
    return [Table("Sliding windows", header, rows)]


def workers(seconds: float) -> list[Table]:
    rows: list[list[object]] = []
    with mock_upstream() as mock:
        for count in (1, 2):
            with gateway(mock, workers=count) as ours:
                keys = ours.keys()
                drive(ours.url, keys, connections=64, seconds=3)
                run, cpu = measured(ours, keys, connections=64, seconds=seconds)
                ratio = run.per_second / (float(str(rows[0][1])) if rows else run.per_second)
                rows.append([count, run.per_second, f"{ratio:.2f}", cpu, ours.rss_mb() / count, run.failed])
    header = ["processes", "req/s", "ratio", "CPU µs", "RSS MB each", "failed"]
    note = (
        f"On {os.cpu_count()} cores, which Redis, PostgreSQL, the ledger, the mock and the load generator share: "
        "beyond the first process there is only what they leave."
    )
    return [Table("Web processes", header, rows, note)]


def bodies(seconds: float) -> list[Table]:
    rows: list[list[object]] = []
    with mock_upstream() as mock, bare_proxy(mock) as bare, gateway(mock) as ours:
        keys = ours.keys()
        for size in (1_000, 10_000, 100_000, 1_000_000, 5_000_000):
            row: list[object] = [f"{size:,}"]
            for server in (bare, ours):
                run, cpu = measured(server, keys, connections=4, seconds=seconds, size=size)
                row += [run.per_second, cpu]
            rows.append([*row, run.failed])
    header = ["bytes", "bare req/s", "CPU µs", "gateway req/s", "CPU µs", "failed"]
    return [Table("Size of the request", header, rows)]
