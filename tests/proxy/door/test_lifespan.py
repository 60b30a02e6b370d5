"""A web process before its first request and after its last."""

import asyncio
import gc

import pytest

from gateway_project.ground.presence import process_states
from proxy.door.lifespan import lifespan
from proxy.runtime import Runtime

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def usual_garbage_collection():
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


async def test_it_says_that_it_lives_until_it_has_stopped(redis_server, usual_garbage_collection):
    asked: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    sent: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    running = asyncio.create_task(lifespan(Runtime(), asked.get, sent.put))

    await asked.put({"type": "lifespan.startup"})
    started = await asyncio.wait_for(sent.get(), 10)
    while (await asyncio.to_thread(process_states))["web"] != "ok":  # noqa: ASYNC110 - what is waited for is in Redis
        await asyncio.sleep(0.01)
    await asked.put({"type": "lifespan.shutdown"})
    stopped = await asyncio.wait_for(sent.get(), 10)
    await running

    assert (started["type"], stopped["type"]) == ("lifespan.startup.complete", "lifespan.shutdown.complete")
    assert (await asyncio.to_thread(process_states))["web"] != "ok"
