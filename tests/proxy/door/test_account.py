"""What a tenant asks of its own account."""

from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from tests.factories import ApiKeyFactory
from tests.proxy.gateway import get, post
from tests.proxy.pipeline.test_serve import EXACT
from tests.proxy.scripted_upstream import message, raw

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_receipt_is_there_before_and_after_the_drain_and_nobody_elses(
    world, upstream_answering, books
):
    other = await sync_to_async(ApiKeyFactory)()
    async with upstream_answering(raw(message())):
        request_id = (await post(world.key)).headers["request-id"]
        early = await get(world.key, f"/v1/requests/{request_id}")
        await books()
        late = await get(world.key, f"/v1/requests/{request_id}")
        theirs = await get(other.plain, f"/v1/requests/{request_id}")
        unknown = await get(world.key, "/v1/requests/no-uuid")

    assert (early.status, late.status, theirs.status, unknown.status) == (200, 200, 404, 404)
    assert early.json == late.json
    assert Decimal(late.json["cost_usd"]) == EXACT


async def test_a_tenant_sees_its_own_models_usage_and_budget(world, upstream_answering, books):
    other = await sync_to_async(ApiKeyFactory)()
    async with upstream_answering(raw(message())):
        await post(world.key, metadata={"user_id": "ann"})
        await books()
        models = await get(world.key, "/v1/models")
        one = await get(world.key, "/v1/models/claude-opus-4-20250514")
        usage = await get(world.key, "/v1/usage")
        budget = await get(world.key, "/v1/budget")
        theirs = await get(other.plain, "/v1/usage")

    assert [model["id"] for model in models.json["data"]] == [
        "claude-opus-4-20250514",
        "claude-sonnet-4-20250514",
    ]
    assert one.json["id"] == "claude-opus-4-20250514"
    assert Decimal(usage.json["total"]["cost_usd"]) == EXACT
    assert usage.json["by_user"][0]["end_user"] == "ann"
    assert Decimal(budget.json["spend_usd"]) == EXACT
    assert Decimal(budget.json["remaining_usd"]) == 100 - EXACT
    assert budget.json["limits"]["requests_per_minute"] == {"limit": 1000, "used": 1}
    assert theirs.json["total"]["requests"] == 0


async def test_a_tenant_sees_when_cheaper_models_serve(world, upstream_answering, books):
    await sync_to_async(world.with_limits)(monthly_budget_usd=Decimal("0.004"), downgrade_percent=50)
    async with upstream_answering(raw(message())):
        before = await get(world.key, "/v1/budget")
        await post(world.key)
        await books()
        await post(world.key, model="claude-opus-4-20250514", max_tokens=1)
        after = await get(world.key, "/v1/budget")

    assert before.json["downgrade"] == {
        "active": False,
        "from_percent_of_budget": 50,
        "until_below_percent_of_budget": 40,
        "targets": {"claude-opus-4-20250514": "claude-sonnet-4-20250514"},
    }
    assert after.json["downgrade"]["active"]


async def test_the_smallest_amounts_are_written_out(world, upstream_answering, books):
    async with upstream_answering(raw(message(input_tokens=1, output_tokens=0))):
        await post(world.key)
        await books()
        usage = await get(world.key, "/v1/usage")

    assert usage.json["total"]["cost_usd"] == "0.000003000"
