"""What limits and routes in shadow would have done."""

from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from tests.billing.ledger.test_refusal_counts import counted
from tests.factories import (
    ComplexityRuleFactory,
    ModelFactory,
    ModelPriceFactory,
    TierFactory,
    TierRouteFactory,
)
from tests.proxy.gateway import post
from tests.proxy.scripted_upstream import message, raw

pytestmark = pytest.mark.django_db(transaction=True)


OPUS = {"model": "claude-opus-4-20250514"}


async def test_a_tier_in_shadow_counts_what_it_would_refuse_and_refuses_nothing(world, upstream_answering):
    tried = await sync_to_async(TierFactory)(max_requests_per_minute=2, monthly_budget_usd=None)
    await sync_to_async(world.with_limits)(shadow_tier=tried)
    async with upstream_answering(raw(message())):
        answers = [await post(world.key) for _ in range(5)]

    assert [answer.status for answer in answers] == [200] * 5
    assert await counted(shadow=True) == {"rate_limited": 3}
    assert await counted() == {}


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"max_concurrency": 0}, "concurrency_limited"),
        ({"max_tokens_per_day": 0}, "daily_tokens_exceeded"),
        ({"monthly_budget_usd": Decimal("0.000001")}, "budget_exceeded"),
    ],
)
async def test_each_limit_is_tried_in_shadow(world, upstream_answering, limits, code):
    await sync_to_async(world.with_limits)(shadow_tier=await sync_to_async(TierFactory)(**limits))
    async with upstream_answering(raw(message())):
        answer = await post(world.key)

    assert answer.status == 200
    assert await counted(shadow=True) == {code: 1}


async def test_a_downgrade_that_would_come_is_counted(world, upstream_answering):
    tried = await sync_to_async(TierFactory)(downgrade_percent=0)
    await sync_to_async(world.with_limits)(shadow_tier=tried)
    async with upstream_answering(raw(message())):
        answer = await post(world.key, **OPUS)

    assert answer.headers["x-tenantry-route"] == "requested"
    assert await counted(shadow=True) == {"downgraded claude-sonnet-4-20250514": 1}


def an_automatic_world(world):
    for complexity, model in (("simple", world.sonnet), ("complex", world.opus)):
        TierRouteFactory(tier=world.tenant.tier, complexity=complexity, model=model)


async def test_a_rule_in_shadow_counts_what_it_would_route_otherwise(world, upstream_answering):
    await sync_to_async(an_automatic_world)(world)
    await sync_to_async(ComplexityRuleFactory)(subject="prove", shadow=True)
    async with upstream_answering(raw(message())):
        answer = await post(world.key, model="auto", system="Prove it")
        await post(world.key, model="auto", system="Say it")

    assert answer.headers["x-tenantry-route"] == "auto:simple"
    assert await counted(shadow=True) == {"rerouted claude-opus-4-20250514": 1}


async def test_a_route_in_shadow_to_a_model_the_tenant_may_not_use_is_counted(world, upstream_answering):
    def prepare():
        an_automatic_world(world)
        other = ModelFactory()
        ModelPriceFactory(model=other)
        world.with_limits(shadow_tier=TierRouteFactory(complexity="simple", model=other).tier)

    await sync_to_async(prepare)()
    async with upstream_answering(raw(message())):
        await post(world.key, model="auto")

    assert await counted(shadow=True) == {"model_not_allowed": 1}
