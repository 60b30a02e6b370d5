"""Answers kept by the key their caller gave."""

import pytest

from billing.meter import idempotency
from tests.proxy.conftest import upstream_answering as upstream_answering  # a fixture
from tests.proxy.conftest import world as world  # a fixture
from tests.proxy.gateway import post
from tests.proxy.pipeline.test_idempotent import KEY
from tests.proxy.scripted_upstream import message, raw

pytestmark = pytest.mark.django_db(transaction=True)


async def test_what_a_tenant_has_kept_is_bounded_and_the_oldest_goes_first(
    world, upstream_answering, monkeypatch, redis_server
):
    monkeypatch.setattr(idempotency, "MOST_BYTES_A_TENANT", 2500)
    async with upstream_answering(raw(message())) as upstream:
        for number in range(6):
            await post(world.key, headers={"idempotency-key": f"k{number}"})
        asked = len(upstream.asked)
        newest = await post(world.key, headers={"idempotency-key": "k5"})
        oldest = await post(world.key, headers={"idempotency-key": "k0"})

    assert asked == 6
    assert newest.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in oldest.headers


async def test_a_result_is_kept_for_a_day(world, upstream_answering, redis_server):
    async with upstream_answering(raw(message())):
        await post(world.key, headers=KEY)

    [left] = [redis_server.pttl(key) for key in redis_server.scan_iter("*:idem:*")]
    assert 24 * 3600 * 1000 - 60_000 < left <= 24 * 3600 * 1000
