"""What a web process does beside its calls."""

import asyncio

from billing.meter import heartbeat
from proxy.door import lifespan


async def test_the_heart_beats_on_whatever_went_wrong(monkeypatch):
    beats = []

    async def beat(worker):
        beats.append(worker)
        raise ValueError("an answer nobody expected")

    async def flush():
        raise OSError("standard output is closed")

    monkeypatch.setattr(heartbeat, "beat", beat)
    monkeypatch.setattr(lifespan, "_flush", flush)
    monkeypatch.setattr(lifespan, "BEAT_SECONDS", 0.01)
    beating = asyncio.create_task(lifespan._beat())
    async with asyncio.timeout(5):
        while len(beats) < 3:  # noqa: ASYNC110 - a plain list, in tests only
            await asyncio.sleep(0.01)
    beating.cancel()

    assert len(beats) >= 3
