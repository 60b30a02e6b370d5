"""A caller that leaves, in every phase and under both policies: settled once, and nothing stays reserved."""

import asyncio
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from gateway_project.asgi import application
from proxy.pipeline import attempts
from tests.proxy.gateway import caller, runtime
from tests.proxy.scripted_upstream import DELTA, END, START, STOP, message, raw, stream

pytestmark = pytest.mark.django_db(transaction=True)
EXACT = Decimal("0.003750")
BUSY = raw(b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}', status=529)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - plain lists and numbers, in tests only
            await asyncio.sleep(0.005)


async def leaves(key, when, **options):
    """A caller that leaves once `when()` holds, and is served to whatever end."""
    request = caller(key, **options)
    served = asyncio.create_task(request.call())
    await until(when)
    await asyncio.sleep(0.05)  # the gateway is now waiting, whatever it waits for
    request.leave()
    await asyncio.wait_for(served, 10)
    return request.answer


def in_halves():
    """A JSON answer in two halves, half a second apart."""
    body = message()

    async def talk(asked, writer):
        writer.write(b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\n")
        writer.write(b"content-length: %d\r\n\r\n" % len(body))
        half = len(body) // 2
        writer.write(body[:half])
        await writer.drain()
        await asyncio.sleep(0.5)
        writer.write(body[half:])

    return talk


async def slow_head(asked, writer):
    await asyncio.sleep(0.5)
    await raw(message())(asked, writer)


async def slow_stream_head(asked, writer):
    await asyncio.sleep(0.5)
    await stream(START, DELTA, END, STOP)(asked, writer)


IN_AN_ANSWER = {
    "waiting for a JSON answer": (slow_head, False),
    "in the middle of a JSON answer": (in_halves(), False),
    "waiting for a stream": (slow_stream_head, True),
    "in the middle of a stream": (stream(START, DELTA, 0.5, END, STOP), True),
}


@pytest.mark.parametrize("policy", ["cancel", "drain"])
@pytest.mark.parametrize("phase", IN_AN_ANSWER)
async def test_once_the_upstream_is_at_work_the_call_costs_what_it_wrote(
    world, upstream_answering, books, phase, policy
):
    await sync_to_async(world.with_limits)(disconnect_policy=policy)
    talk, streamed = IN_AN_ANSWER[phase]
    async with upstream_answering(talk) as upstream:
        await leaves(world.key, lambda: upstream.asked, stream=streamed)
        if policy == "cancel":
            await asyncio.wait_for(upstream.hung_up.wait(), 10)
        seen = await books()

    assert seen.row.status == "cancelled"
    assert upstream.hung_up.is_set() == (policy == "cancel")
    if policy == "drain":
        assert (seen.row.cost_usd, seen.row.estimated) == (EXACT, False)
    else:
        assert seen.row.estimated
        assert 0 < seen.row.cost_usd < Decimal("0.0045")  # what all of max_tokens would cost
    assert seen.reserved_usd == 0
    assert seen.balanced


@pytest.mark.parametrize("policy", ["cancel", "drain"])
async def test_waiting_for_its_turn_nothing_is_at_work_for_it(world, upstream_answering, books, policy):
    await sync_to_async(world.with_limits)(disconnect_policy=policy)
    async with upstream_answering(raw(message())) as upstream:
        limiter = runtime().limiters.of("ezai")
        limiter.bound = 1.0
        turn = await limiter.enter(0)
        leaving = asyncio.create_task(leaves(world.key, lambda: bool(limiter._queues)))
        await until(lambda: bool(limiter._queues))
        await asyncio.sleep(0.2)
        limiter.leave(0, turn)
        await leaving
        seen = await books()

    # Who drains is served to the end; it waited in the queue after its caller had left.
    assert len(upstream.asked) == (policy == "drain")
    assert seen.row.status == "cancelled"
    assert seen.row.cost_usd == (EXACT if policy == "drain" else 0)
    assert not seen.row.estimated
    assert limiter.in_flight == 0
    assert seen.reserved_usd == 0
    assert seen.balanced


@pytest.mark.parametrize("policy", ["cancel", "drain"])
async def test_between_two_tries_nothing_is_at_work_for_it(
    world, upstream_answering, books, monkeypatch, policy
):
    await sync_to_async(world.with_limits)(disconnect_policy=policy)
    monkeypatch.setattr(attempts, "FIRST_PAUSE_SECONDS", 0.4)

    async def talk(asked, writer):
        await (BUSY if len(upstream.asked) == 1 else raw(message()))(asked, writer)

    async with upstream_answering(talk) as upstream:
        await leaves(world.key, lambda: upstream.asked)
        seen = await books()

    assert len(upstream.asked) == (2 if policy == "drain" else 1)
    assert seen.row.status == "cancelled"
    assert seen.row.cost_usd == (EXACT if policy == "drain" else 0)
    assert seen.balanced


@pytest.mark.parametrize("policy", ["cancel", "drain"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_after_the_last_byte_leaving_changes_nothing(
    world, upstream_answering, books, policy, streamed
):
    await sync_to_async(world.with_limits)(disconnect_policy=policy)
    talk = stream(START, DELTA, END, STOP) if streamed else raw(message())
    async with upstream_answering(talk):
        request = caller(world.key, stream=streamed)
        await request.call()
        request.leave()
        seen = await books()

    assert (seen.row.status, seen.row.cost_usd, seen.row.estimated) == ("ok", EXACT, False)
    assert seen.balanced


@pytest.mark.parametrize("policy", ["cancel", "drain"])
async def test_before_admission_there_is_nothing_to_settle(world, upstream_answering, books, policy):
    await sync_to_async(world.with_limits)(disconnect_policy=policy)
    async with upstream_answering(raw(message())) as upstream:
        request = caller(world.key)
        served = asyncio.create_task(request.call())
        request.leave()
        await served
        seen = await books()

    assert len(seen.rows) == len(upstream.asked) <= 1
    assert seen.reserved_usd == 0
    assert seen.balanced


async def test_in_the_middle_of_its_own_upload_it_was_no_call_yet(world, upstream_answering, books):
    async def receive():
        return messages.pop(0)

    async def send(message):
        raise AssertionError("nobody is there to be answered")

    messages = [
        {"type": "http.request", "body": b'{"model":', "more_body": True},
        {"type": "http.disconnect"},
    ]
    async with upstream_answering(raw(message())) as upstream:
        await application(caller(world.key)._scope, receive, send)
        seen = await books()

    assert (upstream.asked, seen.rows, seen.reserved_usd) == ([], [], 0)
