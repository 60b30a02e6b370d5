"""The meter's connection to one Redis."""

import asyncio
import os

import pytest

from billing.meter.scripts import BEAT, BeatArguments, BeatKeys
from tests.meters import meter


@pytest.mark.skipif(os.environ.get("TEST_REDIS") == "cluster", reason="it counts one server's commands")
async def test_a_script_that_redis_forgot_is_sent_once_however_many_ask_for_it(redis_server):
    pipe = meter().pipe
    redis_server.script_flush()
    before = redis_server.info("commandstats").get("cmdstat_eval", {}).get("calls", 0)

    keys = BeatKeys(shard="{s0}:shard", workers="{s0}:workers", usage="{s0}:usage")
    replies = await asyncio.gather(*(pipe.run(BEAT, keys, BeatArguments("w")) for _ in range(50)))

    assert len(replies) == 50
    assert redis_server.info("commandstats")["cmdstat_eval"]["calls"] - before == 1
    await pipe.close()
