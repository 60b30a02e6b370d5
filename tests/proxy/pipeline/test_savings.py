"""What downgrades saved: in the ledger row, the receipt and the roll-up."""

from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from tests.proxy.gateway import get, post, runtime
from tests.proxy.scripted_upstream import message, raw

pytestmark = pytest.mark.django_db(transaction=True)
OPUS, SONNET = "claude-opus-4-20250514", "claude-sonnet-4-20250514"


async def test_a_downgraded_call_says_what_it_saved(world, upstream_answering, books):
    await sync_to_async(world.with_limits)(downgrade_percent=0)
    async with upstream_answering(raw(message())):
        answer = await post(world.key, model=OPUS)
        seen = await books()
        receipt = await get(world.key, f"/v1/requests/{answer.headers['request-id']}")

    row = seen.row
    assert (row.model_requested, row.model_preferred, row.model) == (OPUS, OPUS, SONNET)
    assert row.route == "requested+downgraded"
    # Opus costs five times as much for the same tokens.
    assert (row.cost_usd, row.saved_usd) == (Decimal("0.003750"), Decimal("0.015"))
    assert [(each.downgraded_requests, each.saved_usd) for each in seen.rollups] == [(1, Decimal("0.015"))]
    assert receipt.json["model_preferred"] == OPUS
    assert Decimal(receipt.json["saved_usd"]) == Decimal("0.015")


async def test_a_call_that_is_not_downgraded_saves_nothing(world, upstream_answering, books):
    async with upstream_answering(raw(message())):
        await post(world.key)
        seen = await books()

    assert (seen.row.model_preferred, seen.row.saved_usd) == ("", 0)
    assert seen.rollups[0].downgraded_requests == 0


async def test_what_complexity_was_judged_by_is_in_the_ledger(world, upstream_answering, books):
    await sync_to_async(world.prefer)(default=None, simple=world.sonnet, complex=world.opus)
    async with upstream_answering(raw(message())):
        await post(world.key, model="auto", system="Analyze this")
        seen = await books()

    row = seen.row
    assert (row.route, row.keyword, row.message_count, row.tool_count) == ("auto:complex", "analyze", 1, 0)
    assert row.text_bytes > 0


async def test_usage_says_what_downgrades_saved_and_why_requests_were_refused(
    world, upstream_answering, books
):
    await sync_to_async(world.with_limits)(downgrade_percent=0)
    async with upstream_answering(raw(message())):
        await post(world.key, model=OPUS)
        await post(world.key, model="gpt-4o")
        await runtime().refusals.flush()
        await books()
        usage = await get(world.key, "/v1/usage")

    assert usage.json["downgrades"] == {
        "requests": 1,
        "paid_usd": "0.003750000",
        "would_have_cost_usd": "0.018750000",
        "saved_usd": "0.015000000",
    }
    assert usage.json["refused"] == {"model_not_allowed": 1}


async def test_usage_is_grouped_and_filtered_by_tag(world, upstream_answering, books):
    async with upstream_answering(raw(message())):
        await post(world.key, headers={"x-tenantry-tags": "feature=chat"})
        await post(world.key, headers={"x-tenantry-tags": "feature=search,team=a"})
        await post(world.key)
        await books()
        grouped = await get(world.key, "/v1/usage", query="tag=feature")
        filtered = await get(world.key, "/v1/usage", query="tag=feature=chat")
        plain = await get(world.key, "/v1/usage")

    values = {row["value"]: row["requests"] for row in grouped.json["by_tag"]}
    assert values == {"chat": 1, "search": 1, "": 1}
    assert grouped.json["total"]["requests"] == 3
    assert filtered.json["total"]["requests"] == 1
    assert [row["model"] for row in filtered.json["by_model"]] == [SONNET]
    assert plain.json["tags"] == ["feature", "team"]
