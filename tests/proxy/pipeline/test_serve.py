"""A request's whole way, in process, on the real PostgreSQL and Redis."""

import asyncio
import json
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from tenants.models import AllowedModel
from tests.proxy.gateway import post
from tests.proxy.scripted_upstream import echo, message, raw

pytestmark = pytest.mark.django_db(transaction=True)
EXACT = Decimal("0.003750")


async def test_a_call_costs_the_same_to_the_nano_dollar_in_header_ledger_and_roll_up(
    world, upstream_answering, books
):
    async with upstream_answering(raw(message())):
        answer = await post(world.key)

        seen = await books()

    assert answer.status == 200
    assert answer.body == message()
    assert Decimal(answer.headers["x-tenantry-cost-usd"]) == EXACT
    assert Decimal(answer.headers["x-tenantry-budget-remaining-usd"]) == 100 - EXACT
    assert seen.row.cost_usd == EXACT
    assert str(seen.row.request_id) == answer.headers["request-id"]
    assert [rollup.cost_usd for rollup in seen.rollups] == [EXACT]
    assert seen.balanced
    assert seen.reserved_usd == 0


async def test_the_callers_bytes_are_what_the_upstream_gets_under_the_gateways_key(world, upstream_answering):
    body = (
        b'{"model":"claude-sonnet-4-20250514", "max_tokens":5,'
        b'"messages":[{"role":"user","content":"\\u00e9"}],"x":1.50}'
    )
    async with upstream_answering(raw(message())) as upstream:
        await post(world.key, body, query="beta=true", headers={"anthropic-beta": "a,b", "cookie": "c=1"})

    [asked] = upstream.asked
    assert asked.body == body
    assert asked.target == "/v1/messages?beta=true"
    assert asked.headers["x-api-key"] == "ezai-secret"
    assert asked.headers["anthropic-beta"] == "a,b"
    assert asked.headers["accept-encoding"] == "identity"
    assert "cookie" not in asked.headers
    assert world.key not in str(asked)


async def test_tracking_headers_carry_opaque_ids(world, upstream_answering, settings):
    settings.UPSTREAM_TRACKING_HEADERS = {"x-customer": "{tenant}", "x-call": "{request_id}"}
    async with upstream_answering(raw(message())) as upstream:
        answer = await post(world.key, headers={"x-customer": "spoofed"})

    assert upstream.asked[0].headers["x-customer"] == str(world.tenant.pk)
    assert upstream.asked[0].headers["x-call"] == answer.headers["request-id"]


async def test_an_answer_says_who_served_it_why_and_what_is_left(world, upstream_answering):
    told = ("request-id: req_up", "anthropic-ratelimit-requests-limit: 4000", "set-cookie: a=b")
    async with upstream_answering(raw(message(), headers=told)):
        answer = await post(world.key)

    assert answer.headers["x-upstream-request-id"] == "req_up"
    assert answer.headers["x-tenantry-model"] == "claude-sonnet-4-20250514"
    assert answer.headers["x-tenantry-route"] == "requested"
    assert answer.headers["anthropic-ratelimit-requests-limit"] == "1000"
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "999"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("model", "system", "served", "route"),
    [
        (..., "", "claude-opus-4-20250514", "default"),
        ("auto", "say hi", "claude-sonnet-4-20250514", "auto:simple"),
        ("auto", "Please ANALYZE this", "claude-opus-4-20250514", "auto:complex"),
    ],
)
async def test_the_model_is_chosen_where_none_is_asked_for(
    world, upstream_answering, books, model, system, served, route
):
    await sync_to_async(world.prefer)(default=world.opus, simple=world.sonnet, complex=world.opus)
    async with upstream_answering(raw(message(model=served))) as upstream:
        answer = await post(world.key, model=model, system=system)
        seen = await books()

    assert upstream.asked[0].json["model"] == served
    assert (answer.headers["x-tenantry-model"], answer.headers["x-tenantry-route"]) == (served, route)
    assert (seen.row.model, seen.row.route) == (served, route)


async def test_from_the_threshold_on_the_cheaper_model_serves(world, upstream_answering, books):
    await sync_to_async(world.with_limits)(monthly_budget_usd=Decimal("0.04"), downgrade_percent=50)
    async with upstream_answering(echo(input_tokens=1, output_tokens=300)) as upstream:
        opus = {"model": "claude-opus-4-20250514", "max_tokens": 300}
        first = await post(world.key, **opus)
        second = await post(world.key, **opus)
        proud = await post(world.key, **opus, headers={"x-tenantry-no-downgrade": "1"})
        seen = await books()

    assert first.headers["x-tenantry-route"] == "requested"
    assert second.headers["x-tenantry-route"] == "requested+downgraded"
    assert (proud.status, proud.error["code"]) == (402, "budget_exceeded")
    assert "x-tenantry-no-downgrade" in proud.error["message"]
    assert [asked.json["model"] for asked in upstream.asked] == [row.model for row in seen.rows]
    assert seen.balanced


async def test_what_does_not_fit_is_clamped_and_says_so(world, upstream_answering, books):
    await sync_to_async(world.with_limits)(monthly_budget_usd=Decimal("0.02"))
    async with upstream_answering(echo(input_tokens=1, output_tokens=100)) as upstream:
        answer = await post(
            world.key,
            model="claude-opus-4-20250514",
            max_tokens=2000,
            headers={"x-tenantry-no-downgrade": "1"},
        )
        seen = await books()

    assert answer.headers["x-tenantry-route"] == "requested+clamped"
    assert upstream.asked[0].json["max_tokens"] < 300
    assert seen.balanced


async def test_a_budget_that_is_spent_is_a_402_that_is_not_to_be_retried(world, upstream_answering, books):
    await sync_to_async(world.with_limits)(monthly_budget_usd=Decimal("0.000001"))
    async with upstream_answering(raw(message())) as upstream:
        answer = await post(world.key)
        seen = await books()

    assert answer.status == 402
    assert answer.headers["x-should-retry"] == "false"
    assert answer.error["type"] == "billing_error"
    assert answer.error["code"] == "budget_exceeded"
    assert answer.error["scope"] == "tenant"
    assert {"spend_usd", "budget_usd", "resets_at"} <= answer.error.keys()
    assert (upstream.asked, seen.rows) == ([], [])


async def test_fifty_of_sixty_rapid_calls_pass_at_fifty_a_minute(world, upstream_answering, books):
    await sync_to_async(world.with_limits)(max_requests_per_minute=50)
    async with upstream_answering(raw(message())) as upstream:
        answers = await asyncio.gather(*(post(world.key) for _ in range(60)))
        seen = await books()

    assert sorted(answer.status for answer in answers) == [200] * 50 + [429] * 10
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.error["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.error["retry_after"] == int(refused.headers["retry-after"])
    assert len(upstream.asked) == len(seen.rows) == 50


async def test_an_end_user_has_a_limit_of_its_own(world, upstream_answering):
    await sync_to_async(world.with_limits)(max_user_requests_per_minute=1)
    async with upstream_answering(raw(message())):
        answers = [await post(world.key, metadata={"user_id": user}) for user in ("ann", "ann", "bob")]

    assert [answer.status for answer in answers] == [200, 429, 200]
    assert answers[1].error["code"] == "user_rate_limited"


async def test_the_call_that_crosses_the_days_tokens_is_the_last(world, upstream_answering):
    await sync_to_async(world.with_limits)(max_tokens_per_day=1000)
    async with upstream_answering(raw(message())):
        answers = [await post(world.key), await post(world.key)]

    assert [answer.status for answer in answers] == [200, 429]
    assert answers[1].error["code"] == "daily_tokens_exceeded"
    assert answers[1].headers["x-should-retry"] == "false"
    assert int(answers[1].headers["retry-after"]) > 0


async def test_a_policy_edit_holds_on_the_very_next_call(world, upstream_answering):
    async with upstream_answering(raw(message())):
        before = await post(world.key, model="claude-opus-4-20250514")
        await sync_to_async(AllowedModel.objects.filter(model=world.opus).delete)()
        removed = await post(world.key, model="claude-opus-4-20250514")
        await sync_to_async(AllowedModel.objects.create)(tenant=world.tenant, model=world.opus)
        given_back = await post(world.key, model="claude-opus-4-20250514")
        await sync_to_async(world.with_limits)(status="suspended")
        suspended = await post(world.key)

    assert [before.status, removed.status, given_back.status, suspended.status] == [200, 404, 200, 403]
    assert removed.error["allowed"] == ["claude-sonnet-4-20250514"]
    assert suspended.error["code"] == "tenant_suspended"


async def test_counting_tokens_is_passed_on_and_free(world, upstream_answering, books):
    async with upstream_answering(raw(b'{"input_tokens":12}')) as upstream:
        answer = await post(world.key, path="/v1/messages/count_tokens", max_tokens=...)
        seen = await books()

    assert (answer.status, answer.json) == (200, {"input_tokens": 12})
    assert upstream.asked[0].target == "/v1/messages/count_tokens"
    assert (seen.row.cost_usd, seen.row.estimated, seen.row.status) == (0, False, "ok")
    assert seen.reserved_usd == 0


async def test_the_openai_wire_is_served_by_the_same_pipeline(world, upstream_answering, books):
    said = {"model": "claude-sonnet-4-20250514", "usage": {"prompt_tokens": 1000, "completion_tokens": 50}}
    async with upstream_answering(raw(json.dumps(said).encode())) as upstream:
        answer = await post(
            "",
            path="/v1/chat/completions",
            max_tokens=...,
            headers={"authorization": f"Bearer {world.key}"},
        )
        seen = await books()

    assert (answer.status, answer.json) == (200, said)
    assert Decimal(answer.headers["x-tenantry-cost-usd"]) == EXACT
    assert "x-ratelimit-limit-requests" in answer.headers
    assert upstream.asked[0].headers["authorization"] == "Bearer ezai-secret"
    assert "x-api-key" not in upstream.asked[0].headers
    assert (seen.row.wire, seen.row.cost_usd) == ("openai", EXACT)


async def test_usage_that_cannot_be_is_charged_at_the_bound_and_flagged(world, upstream_answering, books):
    async with upstream_answering(raw(message(input_tokens=10, output_tokens=5000))):
        await post(world.key, max_tokens=100)
        seen = await books()

    assert (seen.row.output_tokens, seen.row.estimated) == (100, True)
    assert "5000 output tokens" in seen.row.note


@pytest.mark.parametrize(
    "usage", [{"output_tokens": -5}, {"output_tokens": "many"}, {"output_tokens": 10**15}]
)
async def test_usage_that_is_no_count_never_credits_a_tenant(world, upstream_answering, books, usage):
    async with upstream_answering(raw(message(**usage))):
        await post(world.key)
        seen = await books()

    assert seen.row.estimated
    assert seen.row.cost_usd > 0


async def test_a_model_the_price_list_knows_is_priced_as_what_served(world, upstream_answering, books):
    async with upstream_answering(raw(message(model="claude-opus-4-20250514"))):
        await post(world.key)
        seen = await books()

    assert seen.row.model_requested == "claude-sonnet-4-20250514"
    assert seen.row.model == "claude-opus-4-20250514"
    assert seen.row.cost_usd == 5 * EXACT


async def test_a_soft_budget_too_says_what_remains_of_it(world, upstream_answering):
    await sync_to_async(world.with_limits)(budget_mode="soft", monthly_budget_usd=Decimal("0.005"))
    async with upstream_answering(raw(message())):
        first, second = await post(world.key), await post(world.key)

    assert first.headers["x-tenantry-budget-remaining-usd"] == "0.001250"
    assert (second.status, second.headers["x-tenantry-budget-remaining-usd"]) == (200, "0.000000")
