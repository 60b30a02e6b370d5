"""Streams, and callers that leave: in every phase a call is settled once, and nothing stays reserved."""

import asyncio
import json
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from tests.proxy.gateway import caller, get, post
from tests.proxy.scripted_upstream import DELTA, END, START, STOP, event, message, raw, stream

pytestmark = pytest.mark.django_db(transaction=True)
WHOLE = START + event("ping") + DELTA + END + STOP
EXACT = Decimal("0.003750")


async def test_a_streams_bytes_pass_as_they_are_and_it_is_charged_exactly(world, upstream_answering, books):
    async with upstream_answering(stream(WHOLE[:100], WHOLE[100:101], WHOLE[101:])):
        answer = await post(world.key, stream=True)
        seen = await books()
        receipt = await get(world.key, f"/v1/requests/{answer.headers['request-id']}")

    assert answer.status == 200
    assert answer.body == WHOLE
    assert answer.headers["content-type"] == "text/event-stream"
    assert "x-tenantry-cost-usd" not in answer.headers
    assert answer.headers["x-upstream-request-id"] == "req_up"
    assert (seen.row.cost_usd, seen.row.status, seen.row.estimated) == (EXACT, "ok", False)
    assert seen.row.stream
    assert seen.row.ttft_ms is not None
    assert Decimal(receipt.json["cost_usd"]) == EXACT
    assert seen.reserved_usd == 0
    assert seen.balanced


async def test_a_stream_is_settled_before_its_last_bytes_leave(world, upstream_answering, redis_server):
    async with upstream_answering(stream(START + DELTA, 0.05, END + STOP)):
        request = caller(world.key, stream=True)
        served = asyncio.create_task(request.call())
        while STOP not in request.answer.body:
            request.piece_came.clear()
            await request.piece_came.wait()

        assert [redis_server.xlen(key) for key in redis_server.scan_iter("*:usage")] == [1]
        await served


@pytest.mark.parametrize(
    ("sent", "output"), [((START, DELTA), 51), ((START, DELTA[:40]), 1), ((START, DELTA, END), 51)]
)
async def test_a_truncated_stream_ends_with_an_error_event_and_is_flagged(
    world, upstream_answering, books, sent, output
):
    async with upstream_answering(stream(*sent, cut=True)):
        answer = await post(world.key, stream=True)
        seen = await books()

    body, _, last = answer.body.rpartition(b"\n\nevent: error\ndata: ")
    assert body.startswith(b"".join(sent))
    assert json.loads(last)["error"]["type"] == "api_error"
    assert (seen.row.status, seen.row.estimated) == ("upstream_error", True)
    assert seen.row.input_tokens == 1000
    assert 1 <= seen.row.output_tokens <= output
    assert seen.reserved_usd == 0


async def test_nothing_is_added_to_a_stream_that_was_over_when_its_connection_broke(
    world, upstream_answering, books
):
    async with upstream_answering(stream(START, DELTA, END + STOP, cut=True)):
        answer = await post(world.key, stream=True)
        seen = await books()

    assert answer.body == START + DELTA + END + STOP
    assert (seen.row.cost_usd, seen.row.status) == (EXACT, "ok")


async def test_a_stream_that_says_its_own_error_gets_no_second_one(world, upstream_answering, books):
    failed = event("error", error={"type": "overloaded_error", "message": "busy"})
    async with upstream_answering(stream(START, DELTA, failed)):
        answer = await post(world.key, stream=True)
        seen = await books()

    assert answer.body == START + DELTA + failed
    assert seen.row.status == "upstream_error"
    assert seen.row.cost_usd > 0


async def test_silence_in_mid_stream_is_a_timeout_event(world, upstream_answering, books, settings):
    settings.UPSTREAM_IDLE_TIMEOUT = 1
    async with upstream_answering(stream(START, DELTA, 5.0)):
        answer = await post(world.key, stream=True)
        seen = await books()

    assert json.loads(answer.body.rpartition(b"data: ")[2])["error"]["code"] == "upstream_timeout"
    assert seen.row.status == "upstream_error"


async def test_a_stream_without_input_usage_is_estimated(world, upstream_answering, books):
    silent = event("message_start", message={"model": "x", "usage": {"input_tokens": 0}})
    async with upstream_answering(stream(silent, DELTA, END, STOP)):
        await post(world.key, stream=True)
        seen = await books()

    assert seen.row.input_tokens > 0
    assert (seen.row.output_tokens, seen.row.estimated) == (50, True)


async def test_openais_usage_chunk_is_asked_for_and_kept_back(world, upstream_answering, books):
    def chunk(**data):
        return f"data: {json.dumps({'model': 'claude-sonnet-4-20250514', **data})}\n\n".encode()

    word = chunk(choices=[{"delta": {"content": "hi"}}])
    usage = chunk(choices=[], usage={"prompt_tokens": 1000, "completion_tokens": 50})
    async with upstream_answering(stream(word, usage, b"data: [DONE]\n\n")) as upstream:
        quiet = await post(world.key, path="/v1/chat/completions", stream=True)
        asked = await post(
            world.key, path="/v1/chat/completions", stream=True, stream_options={"include_usage": True}
        )
        seen = await books()

    assert quiet.body == word + b"data: [DONE]\n\n"
    assert asked.body == word + usage + b"data: [DONE]\n\n"
    assert all(each.json["stream_options"] == {"include_usage": True} for each in upstream.asked)
    assert [row.cost_usd for row in seen.rows] == [EXACT, EXACT]


async def left_after(seconds, key, *, upstream=None, **options):
    """A caller that leaves `seconds` after it began, or after `upstream` was asked."""
    request = caller(key, **options)
    served = asyncio.create_task(request.call())
    async with asyncio.timeout(20):
        while upstream is not None and not upstream.asked:  # noqa: ASYNC110 - a plain list, in tests only
            await asyncio.sleep(0.01)
    await asyncio.sleep(seconds)
    request.leave()
    await served
    return request.answer


async def test_a_caller_that_leaves_before_the_answer_is_charged_an_estimate(
    world, upstream_answering, books
):
    async def late(asked, writer):
        await asyncio.sleep(10)

    async with upstream_answering(late) as upstream:
        await left_after(0.3, world.key, upstream=upstream)
        await asyncio.wait_for(upstream.hung_up.wait(), 10)
        seen = await books()

    assert (seen.row.status, seen.row.estimated) == ("cancelled", True)
    assert 0 < seen.row.cost_usd < Decimal("0.0015") + Decimal("0.001")
    assert seen.row.output_tokens < 100
    assert seen.reserved_usd == 0
    assert seen.balanced


async def test_a_caller_that_leaves_in_mid_stream_is_charged_for_what_was_written(
    world, upstream_answering, books
):
    async with upstream_answering(stream(START, DELTA, 10.0, END, STOP)) as upstream:
        answer = await left_after(0.4, world.key, upstream=upstream, stream=True)
        await asyncio.wait_for(upstream.hung_up.wait(), 10)
        seen = await books()

    assert answer.body == START + DELTA
    assert (seen.row.status, seen.row.estimated) == ("cancelled", True)
    assert seen.row.input_tokens == 1000
    assert 10 <= seen.row.output_tokens <= 60
    assert seen.reserved_usd == 0
    assert seen.balanced


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tenant_that_drains_is_charged_exactly_although_the_caller_left(
    world, upstream_answering, books, streamed
):
    await sync_to_async(world.with_limits)(disconnect_policy="drain")

    async def late(asked, writer):
        await asyncio.sleep(0.6)
        await raw(message())(asked, writer)

    talk = stream(START, DELTA, 0.6, END, STOP) if streamed else late
    async with upstream_answering(talk) as upstream:
        await left_after(0.3, world.key, upstream=upstream, stream=streamed)
        seen = await books()

    assert not upstream.hung_up.is_set()
    assert (seen.row.cost_usd, seen.row.estimated) == (EXACT, False)
    assert seen.row.status == "cancelled"
    assert seen.balanced


async def test_a_caller_that_leaves_after_the_last_byte_changes_nothing(world, upstream_answering, books):
    async with upstream_answering(stream(WHOLE, 0.5)) as upstream:
        await left_after(0.3, world.key, upstream=upstream, stream=True)
        seen = await books()

    assert (seen.row.cost_usd, seen.row.status, seen.row.estimated) == (EXACT, "ok", False)


async def test_a_caller_that_leaves_while_being_admitted_leaves_no_lease_behind(
    world, upstream_answering, books
):
    async with upstream_answering(raw(message())):
        await post(world.key)
        for _ in range(20):
            request = caller(world.key)
            served = asyncio.create_task(request.call())
            await asyncio.sleep(0)
            request.leave()
            await served
        seen = await books()

    assert seen.reserved_usd == 0
    assert seen.balanced


async def test_thirty_callers_that_leave_at_any_moment_are_each_settled_once(
    world, upstream_answering, books
):
    async with upstream_answering(stream(START, 0.02, DELTA, 0.02, END + STOP)) as upstream:
        await post(world.key, stream=True)
        await asyncio.gather(*(left_after(each / 300, world.key, stream=True) for each in range(30)))
        await asyncio.sleep(0.1)
        seen = await books()

    assert len({row.request_id for row in seen.rows}) == len(seen.rows) >= len(upstream.asked)
    assert seen.reserved_usd == 0
    assert seen.balanced


async def test_bytes_that_are_no_utf_8_are_passed_on_and_harm_nothing(world, upstream_answering, books):
    odd = b'event: ping\ndata: {"type":"ping","note":"\xff"}\n\n'
    async with upstream_answering(stream(START + odd + DELTA + END + STOP)):
        answer = await post(world.key, stream=True)
        seen = await books()

    assert answer.body == START + odd + DELTA + END + STOP
    assert (seen.row.cost_usd, seen.row.status) == (EXACT, "ok")


async def test_a_refusal_that_is_no_utf_8_is_the_upstreams_fault(world, upstream_answering, books):
    async with upstream_answering(raw(b'{"error":"\xff"}', status=400)):
        answer = await post(world.key)
        seen = await books()

    assert (answer.status, answer.error["code"]) == (502, "upstream_unavailable")
    assert (seen.row.cost_usd, seen.reserved_usd) == (0, 0)
