"""Generate load of JSON calls: by wrk if it is installed, else by a generator of our own over raw sockets.

`python -m bench.load URL KEYFILE CONNECTIONS SECONDS BODY_BYTES` is the latter, in a process of its own.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

TEXT = "What is the answer? "


class Run(msgspec.Struct):
    """The results of one run. Times are in milliseconds."""

    requests: int
    per_second: float
    p50: float
    p95: float
    p99: float
    failed: int


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "bench.load"


def body_of(size: int) -> str:
    """The body of a call, of about `size` bytes."""
    text = (TEXT * (size // len(TEXT) + 1))[: max(20, size - 120)]
    message = {"role": "user", "content": text}
    return json.dumps({"model": "claude-sonnet-4-20250514", "max_tokens": 64, "messages": [message]})


def drive(url: str, keys: list[str], *, connections: int, seconds: float, size: int = 140) -> Run:
    """Put load on `url` for `seconds`, over `connections`, each call with the next of `keys`."""
    with tempfile.TemporaryDirectory() as folder:
        key_file = Path(folder) / "keys"
        key_file.write_text("\n".join(keys))
        if generator() == "wrk":
            return _wrk(url, Path(folder), keys, connections, seconds, size)
        command = [sys.executable, "-m", "bench.load", url, str(key_file)]
        done = subprocess.run(
            [*command, str(connections), str(seconds), str(size)], capture_output=True, text=True, check=True
        )
        return msgspec.json.decode(done.stdout, type=Run)


_SCRIPT = """
local keys = {}
for key in io.lines("%s") do keys[#keys + 1] = key end
local body = io.open("%s"):read("*a")
local number = 0
request = function()
  number = number + 1
  local headers = {["content-type"] = "application/json", ["anthropic-version"] = "2023-06-01",
    ["x-api-key"] = keys[number %% #keys + 1]}
  return wrk.format("POST", nil, headers, body)
end
done = function(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format("RESULT %%d %%f %%f %%f %%f %%d\\n", summary.requests,
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(95) / 1000,
    latency:percentile(99) / 1000, bad))
end
"""


def _wrk(url: str, folder: Path, keys: list[str], connections: int, seconds: float, size: int) -> Run:
    (folder / "body").write_text(body_of(size))
    script = folder / "post.lua"
    script.write_text(_SCRIPT % (folder / "keys", folder / "body"))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
    done = subprocess.run([*command, f"{url}/v1/messages"], capture_output=True, text=True, check=True)
    found = re.search(r"RESULT (\S+) (\S+) (\S+) (\S+) (\S+) (\S+)", done.stdout)
    if found is None:
        raise RuntimeError(done.stdout + done.stderr)
    count, rate, p50, p95, p99, bad = found.groups()
    return Run(int(count), float(rate), float(p50), float(p95), float(p99), int(bad))


class _Caller(asyncio.Protocol):
    def __init__(self, requests: list[bytes], until: float, times: list[float], failed: list[int]) -> None:
        self._requests, self._until, self._times, self._failed = requests, until, times, failed
        self._number = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # of a stream socket
        self._ask()

    def _ask(self) -> None:
        self._buffer = b""
        self._number += 1
        self._sent_at = time.perf_counter()
        self._transport.write(self._requests[self._number % len(self._requests)])

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if not end or length is None or len(body) < int(length[1]):
            return
        self._times.append(time.perf_counter() - self._sent_at)
        if not head.startswith(b"HTTP/1.1 200"):
            self._failed.append(1)
        if time.perf_counter() < self._until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def main(url: str, keys: list[str], connections: int, seconds: float, size: int) -> Run:
    parts, body = urlsplit(url), body_of(size).encode()
    requests = [
        b"POST /v1/messages HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nx-api-key: %b\r\n"
        b"anthropic-version: 2023-06-01\r\ncontent-length: %d\r\n\r\n%b" % (key.encode(), len(body), body)
        for key in keys
    ]
    loop, times, failed = asyncio.get_running_loop(), [], []
    began = time.perf_counter()
    callers = []
    for _ in range(connections):
        _, caller = await loop.create_connection(
            lambda: _Caller(requests, began + seconds, times, failed), parts.hostname, parts.port
        )
        callers.append(caller.done)
    await asyncio.wait(callers, timeout=seconds + 30)
    elapsed = time.perf_counter() - began
    times.sort()
    if not times:
        return Run(0, 0.0, 0.0, 0.0, 0.0, connections)
    at = [times[min(len(times) - 1, int(len(times) * share))] * 1000 for share in (0.5, 0.95, 0.99)]
    return Run(len(times), len(times) / elapsed, *at, len(failed))


if __name__ == "__main__":
    import uvloop

    _, address, key_file, *numbers = sys.argv
    run = uvloop.run(
        main(address, Path(key_file).read_text().split(), int(numbers[0]), float(numbers[1]), int(numbers[2]))
    )
    print(msgspec.json.encode(run).decode())
