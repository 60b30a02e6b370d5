"""Callers that keep calling while something breaks: JSON answers and streams."""

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import httpx
import msgspec

from tests.chaos.installation import SONNET

JSON = "[[sandbox input_tokens=1000 output_tokens=50 latency_ms=100]]"
STREAM = "[[sandbox input_tokens=1000 output_tokens=60 deltas=20 delta_ms=20]]"


class Seen(msgspec.Struct):
    """What the callers saw: answers by HTTP status ('cut': a stream without its end, 'gone': no answer)."""

    statuses: Counter[str]

    @property
    def served(self) -> int:
        return self.statuses["200"]

    @property
    def cut_off(self) -> int:
        """Calls that were in flight when their process died."""
        return self.statuses["gone"] + self.statuses["cut"]


class Load:
    """`with Load(urls, keys) as load:` calls until the block ends; `load.seen` is what came back.

    `kind` is json, stream or both.
    """

    def __init__(self, urls: list[str], keys: list[str], *, callers: int = 12, kind: str = "both") -> None:
        self._urls, self._keys, self._callers, self._kind = urls, keys, callers, kind
        self._stop = threading.Event()
        self.seen = Seen(Counter())

    def __enter__(self) -> "Load":
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def wait_for(self, served: int, seconds: float = 40) -> None:
        """Until that many more calls were answered."""
        goal, deadline = self.seen.served + served, time.monotonic() + seconds
        while self.seen.served < goal and time.monotonic() < deadline:
            time.sleep(0.05)

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=20, limits=limits) as client:
            await asyncio.gather(*(self._call_on(client, number) for number in range(self._callers)))

    async def _call_on(self, client: httpx.AsyncClient, number: int) -> None:
        key = self._keys[number % len(self._keys)]
        url = self._urls[number // 2 % len(self._urls)]
        stream = self._kind == "stream" or (self._kind == "both" and number % 2 == 1)
        while not self._stop.is_set():
            status = await self._call(client, url, key, stream=stream)
            self.seen.statuses[status] += 1
            if status != "200":
                await asyncio.sleep(0.1)

    async def _call(self, client: httpx.AsyncClient, url: str, key: str, *, stream: bool) -> str:
        body: dict[str, Any] = {
            "model": SONNET,
            "max_tokens": 4000,
            "stream": stream,
            "messages": [{"role": "user", "content": STREAM if stream else JSON}],
        }
        try:
            answer = await client.post(f"{url}/v1/messages", json=body, headers={"x-api-key": key})
        except httpx.HTTPError:
            return "gone"
        if stream and answer.status_code == 200 and b"message_stop" not in answer.content:
            return "cut"
        return str(answer.status_code)
