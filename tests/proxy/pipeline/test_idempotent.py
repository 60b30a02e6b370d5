"""Idempotency keys: the same call twice is one call."""

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async

from billing.meter import idempotency
from tests.factories import ApiKeyFactory, TenantFactory
from tests.proxy.gateway import caller, post
from tests.proxy.scripted_upstream import END, START, STOP, message, raw, stream

pytestmark = pytest.mark.django_db(transaction=True)
KEY = {"idempotency-key": "order-1"}


async def test_the_same_key_and_body_replays_the_first_answer_and_charges_once(
    world, upstream_answering, books
):
    async with upstream_answering(raw(message())) as upstream:
        first = await post(world.key, headers=KEY)
        again = await post(world.key, headers=KEY)
        seen = await books()

    assert len(upstream.asked) == 1
    assert again.body == first.body
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["request-id"] == first.headers["request-id"]
    assert "idempotent-replayed" not in first.headers
    assert len(seen.rows) == 1


async def test_another_body_under_the_same_key_is_a_conflict_that_no_sdk_repeats(world, upstream_answering):
    async with upstream_answering(raw(message())) as upstream:
        await post(world.key, headers=KEY)
        other = await post(world.key, headers=KEY, max_tokens=7)

    assert (other.status, other.error["code"]) == (409, "idempotency_conflict")
    assert other.headers["x-should-retry"] == "false"
    assert len(upstream.asked) == 1


async def test_while_the_first_is_running_the_second_is_told_to_come_back(world, upstream_answering):
    async def slow(asked, writer):
        await asyncio.sleep(0.3)
        await raw(message())(asked, writer)

    async with upstream_answering(slow) as upstream:
        first = asyncio.ensure_future(post(world.key, headers=KEY))
        await asyncio.sleep(0.15)
        second = await post(world.key, headers=KEY)
        await first

    assert (second.status, second.headers["retry-after"]) == (409, "1")
    assert len(upstream.asked) == 1


async def test_keys_belong_to_their_tenant(world, upstream_answering):
    other = await sync_to_async(TenantFactory)(tier=world.tenant.tier, models=[world.sonnet])
    key = (await sync_to_async(ApiKeyFactory)(tenant=other)).plain
    async with upstream_answering(raw(message())) as upstream:
        await post(world.key, headers=KEY)
        theirs = await post(key, headers=KEY)

    assert theirs.status == 200
    assert "idempotent-replayed" not in theirs.headers
    assert len(upstream.asked) == 2


async def test_a_failure_is_not_kept(world, upstream_answering):
    async with upstream_answering(raw(b'{"type":"error"}', status=500)) as upstream:
        assert (await post(world.key, headers=KEY)).status == 500
        upstream.talk = raw(message())
        assert (await post(world.key, headers=KEY)).status == 200


async def test_a_revoked_key_replays_nothing(world, upstream_answering):
    async with upstream_answering(raw(message())):
        await post(world.key, headers=KEY)
        await sync_to_async(world.with_limits)(status="suspended")
        assert (await post(world.key, headers=KEY)).status == 403


async def test_a_stream_ignores_the_key(world, upstream_answering):
    async with upstream_answering(raw(message())) as upstream:
        await post(world.key, headers=KEY, stream=True)
        await post(world.key, headers=KEY, stream=True)

    assert len(upstream.asked) == 2


async def test_a_key_that_is_none_is_refused(world, upstream_answering):
    async with upstream_answering(raw(message())) as upstream:
        refused = await post(world.key, headers={"idempotency-key": "x" * 256})

    assert (refused.status, refused.error["code"]) == (400, "invalid_request")
    assert not upstream.asked


async def test_a_caller_who_leaves_frees_the_key(world, upstream_answering):
    async def slow(asked, writer):
        await asyncio.sleep(5)

    async with upstream_answering(slow) as upstream:
        leaver = caller(world.key, headers=KEY)
        call = asyncio.ensure_future(leaver.call())
        await asyncio.sleep(0.2)
        leaver.leave()
        await call
        upstream.talk = raw(message())
        assert (await post(world.key, headers=KEY)).status == 200


async def test_a_caller_who_leaves_while_the_key_is_claimed_frees_it(world, upstream_answering, monkeypatch):
    take = idempotency.Claim.take

    async def left_meanwhile(claim, request_id):
        known = await take(claim, request_id)
        leaver.leave()
        await asyncio.sleep(0.05)
        return known

    async with upstream_answering(raw(message())):
        await post(world.key)
        leaver = caller(world.key, headers=KEY)
        with monkeypatch.context() as patched:
            patched.setattr(idempotency.Claim, "take", left_meanwhile)
            await leaver.call()
        assert (await post(world.key, headers=KEY)).status == 200


async def test_an_answer_too_large_to_keep_is_said_to_be_paid_for(world, upstream_answering, monkeypatch):
    monkeypatch.setattr(idempotency, "LARGEST_ANSWER", 10)
    async with upstream_answering(raw(message())) as upstream:
        first = await post(world.key, headers=KEY)
        again = await post(world.key, headers=KEY)

    assert again.status == 409
    assert first.headers["request-id"] in json.dumps(again.json)
    assert len(upstream.asked) == 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages/count_tokens"])
async def test_another_route_under_the_same_key_is_another_request(world, upstream_answering, path):
    async with upstream_answering(raw(message())):
        first = await post(world.key, headers=KEY)
        other = await post(world.key, headers=KEY, path=path)

    assert first.status == 200
    # What is free is not kept; what is not is refused.
    assert other.status == (200 if path.endswith("count_tokens") else 409)
    assert "idempotent-replayed" not in other.headers


async def test_a_stream_under_a_key_whose_caller_leaves_as_it_is_handed_over_leaves_no_lease(
    world, upstream_answering, books, monkeypatch
):
    giving_up, real = asyncio.Event(), idempotency.Claim.give_up

    async def slow(claim):
        giving_up.set()
        await asyncio.sleep(0.2)
        await real(claim)

    monkeypatch.setattr(idempotency.Claim, "give_up", slow)
    async with upstream_answering(stream(START, END, STOP)):
        request = caller(world.key, headers=KEY)
        calling = asyncio.create_task(request.call())
        await giving_up.wait()
        request.leave()
        await calling
        seen = await books()

    assert (seen.row.status, seen.row.estimated) == ("cancelled", True)
    assert seen.reserved_usd == 0
