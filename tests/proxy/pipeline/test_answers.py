"""Rate-limit headers: what they promise is what the next call meets, in the caller's own dialect."""

from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async

from tenants.models import ApiKey
from tests.proxy.gateway import post
from tests.proxy.scripted_upstream import DELTA, END, START, STOP, message, raw, stream

pytestmark = pytest.mark.django_db(transaction=True)
OPENAI = {"path": "/v1/chat/completions"}
OPENAI_ANSWER = (
    b'{"model":"claude-sonnet-4-20250514","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":50}}'
)


async def test_the_requests_that_remain_are_the_requests_that_pass(world, upstream_answering):
    await sync_to_async(world.with_limits)(max_requests_per_minute=3)
    async with upstream_answering(raw(message())):
        answers = [await post(world.key) for _ in range(4)]

    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    told = [answer.headers["anthropic-ratelimit-requests-remaining"] for answer in answers]
    assert told == ["2", "1", "0", "0"]
    assert {answer.headers["anthropic-ratelimit-requests-limit"] for answer in answers} == {"3"}


async def test_the_window_with_the_least_room_is_the_one_told(world, upstream_answering):
    await sync_to_async(world.with_limits)(max_requests_per_minute=100, max_user_requests_per_minute=4)
    await sync_to_async(ApiKey.objects.filter(tenant=world.tenant).update)(max_requests_per_minute=6)
    async with upstream_answering(raw(message())):
        key = await post(world.key)
        ann = [await post(world.key, metadata={"user_id": "ann"}) for _ in range(2)]
        bob = await post(world.key, metadata={"user_id": "bob"})

    def told(answer):
        names = ("limit", "remaining")
        return tuple(int(answer.headers[f"anthropic-ratelimit-requests-{name}"]) for name in names)

    assert told(key) == (6, 5)
    assert [told(each) for each in ann] == [(4, 3), (4, 2)]
    assert told(bob) == (6, 2)  # bob has three left of his own, the key has two


async def test_the_tokens_that_remain_are_those_nobody_used_or_holds(world, upstream_answering):
    await sync_to_async(world.with_limits)(max_tokens_per_day=5000)
    async with upstream_answering(raw(message())) as upstream:
        settled = await post(world.key)
        upstream.talk = stream(START, DELTA, END, STOP)
        held = await post(world.key, stream=True)
        upstream.talk = raw(message())
        after = await post(world.key)

    def remaining(answer):
        return int(answer.headers["anthropic-ratelimit-tokens-remaining"])

    assert remaining(settled) == 5000 - 1050
    assert remaining(held) < remaining(settled)  # a stream's headers go before its tokens are known
    assert remaining(after) == 5000 - 3 * 1050


async def test_none_remain_where_the_next_call_is_refused(world, upstream_answering):
    await sync_to_async(world.with_limits)(max_tokens_per_day=1000)
    async with upstream_answering(raw(message())):
        last = await post(world.key)
        refused = await post(world.key)

    assert last.headers["anthropic-ratelimit-tokens-remaining"] == "0"
    assert refused.status == 429
    assert refused.headers["anthropic-ratelimit-tokens-remaining"] == "0"
    resets = [
        datetime.fromisoformat(each.headers["anthropic-ratelimit-tokens-reset"]) for each in (last, refused)
    ]
    assert timedelta() <= resets[1] - resets[0] <= timedelta(seconds=1)


async def test_openais_clients_are_told_in_openais_names(world, upstream_answering):
    await sync_to_async(world.with_limits)(max_requests_per_minute=1, max_tokens_per_day=100_000)
    async with upstream_answering(raw(OPENAI_ANSWER)):
        passed = await post(world.key, **OPENAI)
        refused = await post(world.key, **OPENAI)

    assert passed.headers["x-ratelimit-limit-requests"] == "1"
    assert passed.headers["x-ratelimit-remaining-requests"] == "0"
    assert 59 <= int(passed.headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 61
    assert passed.headers["x-ratelimit-remaining-tokens"] == str(100_000 - 1050)
    assert not [name for name in passed.headers if name.startswith("anthropic-")]
    assert refused.status == 429
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"] == refused.headers["retry-after"] + "s"


async def test_a_refusal_says_when_the_next_call_passes(world, upstream_answering):
    await sync_to_async(world.with_limits)(max_requests_per_minute=1)
    async with upstream_answering(raw(message())):
        await post(world.key)
        refused = await post(world.key)

    reset = datetime.fromisoformat(refused.headers["anthropic-ratelimit-requests-reset"])
    wait = timedelta(seconds=int(refused.headers["retry-after"]))
    assert abs(datetime.now(UTC) + wait - reset) < timedelta(seconds=5)


async def test_where_nothing_is_limited_nothing_is_told(world, upstream_answering):
    world.tenant.tier.max_requests_per_minute = world.tenant.tier.max_tokens_per_day = None
    await sync_to_async(world.tenant.tier.save)()
    async with upstream_answering(raw(message())):
        answer = await post(world.key)

    assert not [name for name in answer.headers if "ratelimit" in name]
