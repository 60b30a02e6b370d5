"""Streams: the gateway compared with the bare proxy, at full speed, and with many slow streams."""

import json
import subprocess
import sys
from typing import Any

from bench.servers import HOME, Server, bare_proxy, gateway, mock_upstream
from bench.table import Table


def _streams(server: Server, key: str, *, connections: int, seconds: float) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.streams", f"{server.url}/v1/messages", key, str(connections),
         str(seconds)],
        cwd=HOME, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def beside_a_bare_proxy(seconds: float) -> list[Table]:
    rows: list[list[object]] = []
    with mock_upstream() as mock, bare_proxy(mock) as bare, gateway(mock) as ours:
        [key] = ours.keys()
        _streams(ours, key, connections=32, seconds=2)
        for name, server in (("mock alone", mock), ("bare", bare), ("gateway", ours)):
            seen = _streams(server, key, connections=32, seconds=seconds)
            rows.append([name, seen["streams_per_second"], seen["first_token_p50_ms"], seen["gap_p99_ms"]])
    rate, first = (float(str(rows[2][at])) / float(str(rows[1][at])) for at in (1, 2))
    return [
        Table(
            "32 streams of 100 deltas, each delta a packet",
            ["", "streams/s", "first token p50 ms", "gap p99 ms"],
            rows,
            f"Gateway / bare: {rate:.2f} in streams a second, {first:.2f} in the time to the first token.",
        )
    ]


def many_slow_ones(seconds: float) -> list[Table]:
    rows: list[list[object]] = []
    with mock_upstream(deltas=100, per_second=20) as mock, bare_proxy(mock) as bare, gateway(mock) as ours:
        [key] = ours.keys()
        alone = 0.0
        for name, server in (("mock alone", mock), ("bare", bare), ("gateway", ours)):
            before = server.cpu_seconds()
            seen = _streams(server, key, connections=500, seconds=max(6.0, seconds))
            cpu = (server.cpu_seconds() - before) / (seen["streams"] * 100) * 1e6
            alone = alone or seen["gap_p99_ms"]
            added = seen["gap_p99_ms"] - alone
            rows.append(
                [name, seen["streams"], seen["gap_p50_ms"], seen["gap_p99_ms"], added, cpu, server.rss_mb()]
            )
    header = ["", "streams", "gap p50 ms", "gap p99 ms", "added ms", "CPU µs a delta", "RSS MB"]
    note = "Deltas are sent every 50 ms. The gap is that between two tokens of one stream."
    return [Table("500 streams at 20 deltas a second", header, rows, note)]
