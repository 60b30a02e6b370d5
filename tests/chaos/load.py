"""Callers that keep calling while something breaks: JSON answers and streams, by turns."""

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


class Load:
    """`with Load(url, keys) as load:` calls until the block ends; `load.seen` is what came back."""

    def __init__(self, url: str, keys: list[str], *, callers: int = 12) -> None:
        self._url, self._keys, self._callers = url, keys, callers
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
        async with httpx.AsyncClient(base_url=self._url, timeout=20, limits=limits) as client:
            await asyncio.gather(*(self._call_on(client, number) for number in range(self._callers)))

    async def _call_on(self, client: httpx.AsyncClient, number: int) -> None:
        key = self._keys[number % len(self._keys)]
        while not self._stop.is_set():
            status = await self._call(client, key, stream=number % 2 == 1)
            self.seen.statuses[status] += 1
            if status != "200":
                await asyncio.sleep(0.1)

    async def _call(self, client: httpx.AsyncClient, key: str, *, stream: bool) -> str:
        body: dict[str, Any] = {
            "model": SONNET,
            "max_tokens": 4000,
            "stream": stream,
            "messages": [{"role": "user", "content": STREAM if stream else JSON}],
        }
        try:
            answer = await client.post("/v1/messages", json=body, headers={"x-api-key": key})
        except httpx.HTTPError:
            return "gone"
        if stream and answer.status_code == 200 and b"message_stop" not in answer.content:
            return "cut"
        return str(answer.status_code)
