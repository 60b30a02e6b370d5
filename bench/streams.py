"""Open many SSE streams over raw sockets and time them: streams a second, first token, gaps.

It is a bare protocol in a process of its own, so that the load generator is not what is measured. `bench.sse` shows
this by reading from the mock upstream directly first.
"""

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

import uvloop

BODY = (
    b'{"model":"claude-sonnet-4-20250514","max_tokens":200,"stream":true,'
    b'"messages":[{"role":"user","content":"What is the answer?"}]}'
)


class Stream(asyncio.Protocol):
    """One connection that requests one stream after another until `until` (monotonic seconds)."""

    def __init__(self, request: bytes, until: float, log: "Log", done: asyncio.Future[None]) -> None:
        self._request, self._until, self._log, self._done = request, until, log, done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._ask()

    def _ask(self) -> None:
        self._sent_at = time.perf_counter()
        self._last = 0.0
        self._tail = b""
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if b"content_block_delta" in data:
            if self._last:
                self._log.gaps.append(now - self._last)
            else:
                self._log.first_tokens.append(now - self._sent_at)
            self._last = now
        tail = self._tail + data
        self._tail = tail[-5:]
        if self._tail == b"0\r\n\r\n":
            self._log.finished += 1
            if time.monotonic() < self._until:
                self._ask()
            else:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


class Log:
    def __init__(self) -> None:
        self.first_tokens: list[float] = []
        self.gaps: list[float] = []
        self.finished = 0


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


async def main(url: str, key: str, connections: int, seconds: float) -> None:
    parts = urlsplit(url)
    request = (
        b"POST %b HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nx-api-key: %b\r\n"
        b"anthropic-version: 2023-06-01\r\ncontent-length: %d\r\n\r\n%b"
        % (parts.path.encode(), key.encode(), len(BODY), BODY)
    )
    loop = asyncio.get_running_loop()
    log = Log()
    started = time.monotonic()
    waits = []
    for _ in range(connections):
        done = loop.create_future()
        await loop.create_connection(
            lambda done=done: Stream(request, started + seconds, log, done), parts.hostname, parts.port
        )
        waits.append(done)
    await asyncio.wait(waits, timeout=seconds + 60)
    elapsed = time.monotonic() - started
    result = {
        "streams": log.finished,
        "streams_per_second": log.finished / elapsed,
        "first_token_p50_ms": _percentile(log.first_tokens, 0.5),
        "first_token_p99_ms": _percentile(log.first_tokens, 0.99),
        "gap_p50_ms": _percentile(log.gaps, 0.5),
        "gap_p99_ms": _percentile(log.gaps, 0.99),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
