"""What must not cost more when there is more of it: tenants, windows, bytes, requests, processes."""

from bench.json_calls import measured
from bench.load import drive
from bench.servers import bare_proxy, gateway, mock_upstream
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


def tenants(seconds: float) -> list[Table]:
    rows: list[list[object]] = []
    with mock_upstream() as mock, gateway(mock) as ours:
        base = 0.0
        for count in (1, 1_000, 10_000):
            keys = ours.keys(count)
            drive(ours.url, keys, connections=32, seconds=max(3.0, count / 400))  # every policy read once
            run, cpu = measured(ours, keys, connections=32, seconds=seconds)
            base = base or cpu
            rows.append([count, run.per_second, cpu, f"{cpu / base:.2f}", ours.rss_mb(), run.failed])
    header = ["tenants, in turn", "req/s", "CPU µs", "ratio", "RSS MB", "failed"]
    return [Table("Tenants", header, rows)]


def windows(seconds: float) -> list[Table]:
    rows: list[list[object]] = []
    with mock_upstream() as mock, gateway(mock) as ours:
        for name, rpm in (("no limit", 0), ("60,000 a minute", 60_000), ("10 million a minute", 10_000_000)):
            keys = ours.keys(30 if rpm == 60_000 else 1, rpm)
            drive(ours.url, keys, connections=32, seconds=seconds)
            run, cpu = measured(ours, keys, connections=32, seconds=seconds)
            rows.append([name, run.per_second, cpu, run.failed])
    note = "60,000 a minute: thirty tenants in turn, so that the windows fill and nobody is refused."
    return [Table("Sliding windows", ["requests/min", "req/s", "CPU µs", "failed"], rows, note)]


def workers(seconds: float) -> list[Table]:
    rows: list[list[object]] = []
    with mock_upstream() as mock:
        for count in (1, 2):
            with gateway(mock, workers=count) as ours:
                keys = ours.keys()
                drive(ours.url, keys, connections=32, seconds=3)
                run, cpu = measured(ours, keys, connections=64, seconds=seconds)
                rows.append([count, run.per_second, cpu, run.failed])
    return [Table("Web processes", ["processes", "req/s", "CPU µs", "failed"], rows)]


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
