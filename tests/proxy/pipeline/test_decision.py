"""`POST /v1/route`: a decision without a call."""

from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from tests.proxy.gateway import post
from tests.proxy.scripted_upstream import message, raw

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_route_is_decided_without_a_call_or_a_trace(world, upstream_answering, books):
    async with upstream_answering(raw(message())) as upstream:
        decided = await post(world.key, path="/v1/route", model="claude-opus-4-20250514")
        seen = await books()

    assert decided.status == 200
    assert [each["model"] for each in decided.json["candidates"]] == [
        "claude-opus-4-20250514",
        "claude-sonnet-4-20250514",
    ]
    assert decided.json["would_serve"]["model"] == "claude-opus-4-20250514"
    assert decided.json["would_refuse"] == []
    assert decided.json["downgrade"]["targets"] == {"claude-opus-4-20250514": "claude-sonnet-4-20250514"}
    assert (upstream.asked, seen.rows, seen.reserved_usd) == ([], [], 0)


async def test_a_route_names_every_limit_that_would_refuse(world, upstream_answering):
    await sync_to_async(world.with_limits)(
        max_requests_per_minute=0, max_concurrency=0, monthly_budget_usd=Decimal("0.000001")
    )

    decided = await post(world.key, path="/v1/route")

    assert decided.json["would_refuse"] == ["rate_limited", "concurrency_limited"]
    assert "requests per minute" in decided.json["refusal"]["message"]
    assert decided.json["would_serve"] is None


async def test_a_route_says_which_budget_would_refuse(world, upstream_answering):
    await sync_to_async(world.with_limits)(monthly_budget_usd=Decimal("0.000001"))

    decided = await post(world.key, path="/v1/route")

    assert decided.json["would_refuse"] == ["budget_exceeded"]
    assert decided.json["refusal"]["scope"] == "tenant"
