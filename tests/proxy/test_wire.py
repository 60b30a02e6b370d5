"""What the wire carries, through the whole pipeline: facts of the formats that no other page of tests holds."""

import gzip
import json
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from tests.factories import ModelFactory, ModelPriceFactory
from tests.proxy.gateway import get, post
from tests.proxy.scripted_upstream import DELTA, SONNET, STOP, event, message, raw, stream

pytestmark = pytest.mark.django_db(transaction=True)


async def test_the_same_key_may_stand_in_both_headers(world, upstream_answering):
    async with upstream_answering(raw(message())):
        answer = await post(world.key, headers={"authorization": f"Bearer {world.key}"})

    assert answer.status == 200


async def test_no_tokens_at_all_may_be_asked_for(world, upstream_answering, books):
    async with upstream_answering(raw(message(input_tokens=1000, output_tokens=0))) as upstream:
        answer = await post(world.key, max_tokens=0)
        seen = await books()

    assert answer.status == 200
    assert upstream.asked[0].json["max_tokens"] == 0
    assert (seen.row.output_tokens, seen.row.estimated) == (0, False)
    assert seen.balanced


async def test_a_coding_agents_session_is_no_person(world, upstream_answering, books):
    async with upstream_answering(raw(message())):
        for session in ("s-1", "s-2"):
            packed = json.dumps({"device_id": "d", "account_uuid": "ann", "session_id": session})
            await post(world.key, metadata={"user_id": packed})
        await post(world.key, metadata={"user_id": "bob"}, headers={"x-claude-code-session-id": "s-3"})
        seen = await books()

    told = [(row.end_user, row.session) for row in seen.rows]
    assert told == [("ann", "s-1"), ("ann", "s-2"), ("bob", "s-3")]


async def test_a_search_costs_a_cent(world, upstream_answering, books):
    searched = message(input_tokens=1000, output_tokens=50, server_tool_use={"web_search_requests": 3})
    async with upstream_answering(raw(searched)):
        answer = await post(world.key, tools=[{"type": "web_search_20250305", "name": "web_search"}])
        seen = await books()

    assert Decimal(answer.headers["x-tenantry-cost-usd"]) == Decimal("0.003750") + 3 * Decimal("0.01")
    assert (seen.row.web_searches, seen.row.estimated) == (3, False)
    assert seen.balanced


async def test_what_compaction_used_is_in_a_streams_iterations_alone(world, upstream_answering, books):
    entries = [{"input_tokens": 800, "output_tokens": 20}, {"input_tokens": 200, "output_tokens": 30}]
    start = event("message_start", message={"model": SONNET, "usage": {"input_tokens": 200}})
    end = event("message_delta", delta={}, usage={"output_tokens": 30, "iterations": entries})
    async with upstream_answering(stream(start, DELTA, end, STOP)):
        await post(world.key, stream=True)
        seen = await books()

    assert (seen.row.input_tokens, seen.row.output_tokens) == (1000, 50)


async def test_input_may_be_told_at_a_streams_end_first(world, upstream_answering, books):
    start = event("message_start", message={"model": SONNET, "usage": None})
    first = event("message_delta", delta={}, usage={"output_tokens": 20, "input_tokens": 900})
    last = event("message_delta", delta={}, usage={"output_tokens": 50, "cache_read_input_tokens": 100})
    async with upstream_answering(stream(start, DELTA, first, last, STOP)):
        await post(world.key, stream=True)
        seen = await books()

    row = seen.row
    assert (row.input_tokens, row.cache_read_tokens, row.output_tokens) == (900, 100, 50)
    assert not row.estimated


async def test_a_refusal_in_mid_stream_ends_at_no_output(world, upstream_answering, books):
    start = event(
        "message_start", message={"model": SONNET, "usage": {"input_tokens": 9, "output_tokens": 1}}
    )
    end = event("message_delta", delta={"stop_reason": "refusal"}, usage={"output_tokens": 0})
    async with upstream_answering(stream(start, end, STOP)):
        await post(world.key, stream=True)
        seen = await books()

    assert (seen.row.input_tokens, seen.row.output_tokens, seen.row.status) == (9, 0, "ok")


async def test_an_answer_in_another_models_name_is_noted(world, upstream_answering, books):
    async with upstream_answering(raw(message(model="claude-next-preview"))):
        await post(world.key)
        seen = await books()

    assert (seen.row.model, seen.row.model_requested) == (SONNET, SONNET)
    assert "served by unknown model claude-next-preview" in seen.row.note
    assert not seen.row.estimated


async def test_an_answer_that_breaks_off_is_not_asked_for_again(world, upstream_answering, books):
    async def talk(asked, writer):
        writer.write(b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{")
        writer.close()

    async with upstream_answering(talk) as upstream:
        answer = await post(world.key)
        seen = await books()

    assert (answer.status, answer.error["code"]) == (502, "upstream_unavailable")
    assert len(upstream.asked) == 1
    assert seen.row.estimated
    assert seen.reserved_usd == 0


@pytest.mark.parametrize("family", ["gpt", "gemini", "grok"])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_a_model_of_any_family_is_asked_in_the_callers_own_format(
    world, upstream_answering, books, family, path
):
    model = await sync_to_async(ModelFactory)(name=f"{family}-x", upstream_name=f"{family}-up", family=family)
    await sync_to_async(ModelPriceFactory)(model=model)
    await sync_to_async(world.tenant.allowances.create)(model=model)
    chat = {
        "model": f"{family}-up",
        "choices": [],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 50},
    }
    told = message(model=f"{family}-up") if path == "/v1/messages" else json.dumps(chat).encode()
    async with upstream_answering(raw(told)) as upstream:
        answer = await post(world.key, path=path, model=f"{family}-x")
        listed = await get(world.key, f"/v1/models/{family}-x")
        seen = await books()

    assert answer.status == 200
    assert upstream.asked[0].target == path
    assert upstream.asked[0].json["model"] == f"{family}-up"
    assert (seen.row.model, seen.row.cost_usd) == (f"{family}-x", Decimal("0.003750"))
    assert listed.json["id"] == f"{family}-x"


async def test_an_answer_that_came_compressed_unasked_is_read_and_passed_on_plain(
    world, upstream_answering, books
):
    async with upstream_answering(raw(gzip.compress(message()), headers=("content-encoding: gzip",))) as up:
        whole = await post(world.key)
        events = event("message_start", message={"usage": {"input_tokens": 1000}}) + DELTA
        events += event("message_delta", delta={}, usage={"output_tokens": 50}) + STOP
        packed = gzip.compress(events)
        up.talk = raw(packed, kind="text/event-stream", headers=("content-encoding: gzip",))
        streamed = await post(world.key, stream=True)
        seen = await books()

    assert (whole.body, streamed.body) == (message(), events)
    assert "content-encoding" not in whole.headers.keys() | streamed.headers.keys()
    assert [row.cost_usd for row in seen.rows] == [Decimal("0.003750")] * 2


@pytest.mark.parametrize(("encoding", "body"), [("br", b"x"), ("gzip", b"no gzip")])
async def test_an_answer_nobody_can_read_is_a_502(world, upstream_answering, books, encoding, body):
    async with upstream_answering(raw(body, headers=(f"content-encoding: {encoding}",))):
        answer = await post(world.key)
        seen = await books()

    assert (answer.status, answer.error["code"]) == (502, "upstream_unavailable")
    assert seen.reserved_usd == 0


async def test_what_the_upstream_says_of_the_shared_account_stays_here(world, upstream_answering):
    told = (
        "anthropic-ratelimit-tokens-remaining: 7", "x-ratelimit-limit-requests: 7", "set-cookie: a=b",
        "anthropic-organization-id: org", "x-tenantry-error-source: spoofed", "x-request-id: up", "cf-ray: r",
    )  # fmt: skip
    async with upstream_answering(raw(message(), headers=(*told, "x-custom: kept"))):
        answer = await post(world.key)

    gone = {"set-cookie", "anthropic-organization-id", "x-tenantry-error-source", "cf-ray", "x-request-id"}
    assert not gone & answer.headers.keys()
    assert answer.headers["anthropic-ratelimit-tokens-remaining"] != "7"
    assert "x-ratelimit-limit-requests" not in answer.headers
    assert answer.headers["x-custom"] == "kept"
