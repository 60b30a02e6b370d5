"""How a tenant at ten times its share of a scarce upstream affects another tenant."""

import asyncio
import re
import time
from collections import Counter

import msgspec
import uvloop

from bench.load import body_of
from bench.servers import gateway, scarce_upstream
from bench.table import Table

CAPACITY, MILLISECONDS = 20, 200
SHARE = CAPACITY // 2
ROUNDS = 3


class Heard(msgspec.Struct):
    """What one tenant's callers got: the seconds that successful answers took, and how many of each status."""

    times: list[float] = []
    statuses: Counter[int] = msgspec.field(default_factory=Counter)

    def milliseconds(self, part: float) -> float:
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000 if ordered else 0.0

    @property
    def refused(self) -> int:
        return sum(count for status, count in self.statuses.items() if status != 200)


def beside_a_noisy_tenant(seconds: float) -> list[Table]:
    with scarce_upstream(capacity=CAPACITY, milliseconds=MILLISECONDS) as mock, gateway(mock) as ours:
        quiet, noisy = ours.keys(2)
        rows: list[list[object]] = []
        for used in (SHARE // 2, SHARE):
            alone, beside, loud = Heard(), Heard(), Heard()
            for _ in range(ROUNDS):  # alternating, so that other work on the machine affects both alike
                _drive(ours.url, {quiet: (alone, used)}, seconds / 2)
                _drive(ours.url, {quiet: (beside, used), noisy: (loud, 10 * SHARE)}, seconds)
            rises = beside.milliseconds(0.95) / alone.milliseconds(0.95) - 1
            rows.append(
                [
                    used,
                    *(each.milliseconds(part) for each in (alone, beside) for part in (0.5, 0.95)),
                    f"{rises * 100:+.0f} %",
                    *(count for each in (beside, loud) for count in (len(each.times), each.refused)),
                ]
            )
        title = f"Beside {10 * SHARE} noisy callers, at an upstream that takes {CAPACITY} calls of {MILLISECONDS} ms"
        header = ["callers", "alone p50 ms", "p95 ms", "beside p50 ms", "p95 ms", "p95 rises by",
                  "served", "refused", "noisy served", "noisy refused"]  # fmt: skip
        return [
            Table(
                title, header, rows, f"Half of the upstream is {SHARE} calls. Refused callers wait a second."
            )
        ]


def _drive(url: str, callers: dict[str, tuple[Heard, int]], seconds: float) -> None:
    uvloop.run(_all(url, callers, seconds))


async def _all(url: str, callers: dict[str, tuple[Heard, int]], seconds: float) -> None:
    host, port = url.removeprefix("http://").split(":")
    until = time.monotonic() + seconds
    await asyncio.gather(
        *(
            _call(host, int(port), key, heard, until)
            for key, (heard, many) in callers.items()
            for _ in range(many)
        )
    )


async def _call(host: str, port: int, key: str, heard: Heard, until: float) -> None:
    body = body_of(140).encode()
    request = (
        b"POST /v1/messages HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nx-api-key: %b\r\n"
        b"content-length: %d\r\n\r\n%b" % (key.encode(), len(body), body)
    )
    reader, writer = await asyncio.open_connection(host, port)
    while time.monotonic() < until:
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(found[1]) if found else 0)
        status = int(head.split(b" ", 2)[1])
        heard.statuses[status] += 1
        if status == 200:
            heard.times.append(time.perf_counter() - began)
        else:
            await asyncio.sleep(1)
    writer.close()
