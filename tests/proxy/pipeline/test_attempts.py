"""The gateway's manners towards its upstreams."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async

from proxy.pipeline import attempts
from proxy.upstream import breaker
from tests.proxy.gateway import post, runtime
from tests.proxy.scripted_upstream import SONNET, echo, message, raw

pytestmark = pytest.mark.django_db(transaction=True)
BUSY = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}).encode()
OPUS = "claude-opus-4-20250514"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(attempts, "FIRST_PAUSE_SECONDS", 0.01)


def first(*answers):
    """Each call gets the next of `answers`; the last one stays."""
    left = list(answers)

    async def talk(asked, writer):
        await (left.pop(0) if len(left) > 1 else left[0])(asked, writer)

    return talk


@pytest.mark.parametrize("status", [503, 529])
async def test_an_overloaded_upstream_is_asked_once_more_and_billed_once(
    world, upstream_answering, books, status
):
    async with upstream_answering(first(raw(BUSY, status=status), raw(message()))) as upstream:
        answer = await post(world.key)
        seen = await books()

    assert answer.status == 200
    assert len(upstream.asked) == 2
    assert seen.row.status == "ok"
    assert seen.balanced


async def test_what_stays_overloaded_is_passed_on_as_it_is_after_two_calls(world, upstream_answering, books):
    async with upstream_answering(raw(BUSY, status=529)) as upstream:
        answer = await post(world.key)
        seen = await books()

    assert (answer.status, answer.body, len(upstream.asked)) == (529, BUSY, 2)
    assert seen.row.cost_usd == 0
    assert seen.reserved_usd == 0


@pytest.mark.parametrize("status", [400, 404, 429, 500, 502])
async def test_other_refusals_are_not_repeated(world, upstream_answering, status):
    async with upstream_answering(raw(BUSY, status=status)) as upstream:
        answer = await post(world.key)

    assert (answer.status, len(upstream.asked)) == (status, 1)


async def test_a_long_retry_after_is_passed_on_instead_of_waited_for(world, upstream_answering):
    async with upstream_answering(raw(BUSY, status=529, headers=("retry-after: 30",))) as upstream:
        answer = await post(world.key)

    assert len(upstream.asked) == 1
    assert answer.headers["retry-after"] == "30"


async def test_a_short_retry_after_is_waited_for(world, upstream_answering, monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    busy = raw(BUSY, status=529, headers=("retry-after: 2",))
    async with upstream_answering(first(busy, raw(message()))) as upstream:
        with monkeypatch.context() as patched:
            clock = SimpleNamespace(sleep=sleep, get_running_loop=asyncio.get_running_loop)
            patched.setattr(attempts, "asyncio", clock)
            answer = await post(world.key)

    assert (answer.status, len(upstream.asked), slept) == (200, 2, [2.0])


async def test_the_fallback_model_serves_when_the_first_is_overloaded(world, upstream_answering, books):
    world.sonnet.fallback_to = world.opus
    await sync_to_async(world.sonnet.save)()

    async def talk(asked, writer):
        serve = echo() if asked.json["model"] == OPUS else raw(BUSY, status=529)
        await serve(asked, writer)

    async with upstream_answering(talk) as upstream:
        answer = await post(world.key)
        seen = await books()

    assert [asked.json["model"] for asked in upstream.asked] == [SONNET, SONNET, OPUS]
    assert answer.headers["x-tenantry-model"] == OPUS
    assert answer.headers["x-tenantry-route"] == "requested+fallback"
    assert (seen.row.model, seen.row.route) == (OPUS, "requested+fallback")
    assert seen.balanced
    assert seen.reserved_usd == 0


async def test_a_fallback_the_tenant_may_not_use_is_not_used(world, upstream_answering):
    world.sonnet.fallback_to = world.opus
    await sync_to_async(world.sonnet.save)()
    await sync_to_async(world.tenant.allowances.filter(model=world.opus).delete)()
    async with upstream_answering(raw(BUSY, status=529)) as upstream:
        answer = await post(world.key)

    assert answer.status == 529
    assert {asked.json["model"] for asked in upstream.asked} == {SONNET}


async def test_a_fallback_the_budget_has_no_room_for_is_not_used(world, upstream_answering, books):
    world.sonnet.fallback_to = world.opus
    await sync_to_async(world.sonnet.save)()
    await sync_to_async(world.with_limits)(monthly_budget_usd="0.004")
    async with upstream_answering(raw(BUSY, status=529)) as upstream:
        answer = await post(world.key, max_tokens=200)
        seen = await books()

    assert answer.status == 529
    assert len(upstream.asked) == 2
    assert seen.reserved_usd == 0
    assert seen.balanced


async def test_an_upstream_that_is_overloaded_is_shared_and_not_left_alone(world, upstream_answering):
    async with upstream_answering(raw(BUSY, status=529)) as upstream:
        answers = [await post(world.key) for _ in range(breaker.FAILURES)]

        assert {answer.status for answer in answers} == {529}
        assert runtime().breakers.of("ezai", SONNET).state == "closed"
        assert runtime().limiters.of("ezai").bound is not None
    assert len(upstream.asked) == 2 * breaker.FAILURES
