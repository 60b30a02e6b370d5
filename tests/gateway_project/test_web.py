"""A web process that is asked to stop: what is under way gets its time, then a word in its own dialect."""

import asyncio
import json
import signal
import socket
from contextlib import asynccontextmanager

import pytest
from asgiref.sync import sync_to_async

from gateway_project.web import Server, configured
from tests.proxy.conftest import books as books  # a fixture
from tests.proxy.conftest import upstream_answering as upstream_answering  # a fixture
from tests.proxy.conftest import world as world  # a fixture
from tests.proxy.gateway import HELLO
from tests.proxy.scripted_upstream import DELTA, END, SONNET, STOP, event, message, raw, stream
from tests.security.test_raw_http import request, statuses

pytestmark = pytest.mark.django_db(transaction=True)
STREAMED = json.dumps({**HELLO, "stream": True}).encode()
START = event("message_start", message={"model": SONNET, "usage": {"input_tokens": 12, "output_tokens": 1}})
WORD = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "word "})


class Stoppable(Server):
    """A server that says when it is over."""

    over: "asyncio.Task[None]"


@asynccontextmanager
async def serving(*, grace: float):
    """A server that stops as at SIGTERM when it is told to, and its port."""
    server = Stoppable(
        configured(loop="none", lifespan="off", log_level="error", timeout_graceful_shutdown=grace)
    )
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server.over = asyncio.create_task(
        server._serve([listener])
    )  # `serve` would take the suite's signal handlers
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield server, port
    finally:
        server.should_exit = server._hurries = True
        await server.over


async def begun(port, data, upstream):
    """A connection with `data` on its way, once the upstream has been asked."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(10):
        while not upstream.asked:  # noqa: ASYNC110 - a plain list, in tests only
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    return reader, writer


async def rest_of(reader, writer):
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


def events(answer: bytes) -> bytes:
    """A chunked body, which must have a proper end."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    text = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        if not int(size, 16):
            assert body == b"\r\n"
            return text
        text, body = text + body[: int(size, 16)], body[int(size, 16) + 2 :]


async def test_a_stream_that_does_not_end_in_time_ends_with_an_error_event(world, upstream_answering, books):
    async with (
        upstream_answering(stream(START, *[WORD] * 40, 30)) as upstream,
        serving(grace=0) as (
            server,
            port,
        ),
    ):
        connection = await begun(port, request(world.key, body=STREAMED), upstream)
        server.handle_exit(signal.SIGTERM, None)
        text = events(await rest_of(*connection))
        seen = await books()

    *_, last = text.strip().split(b"\n\n")
    name, data = last.split(b"\n")
    error = json.loads(data.removeprefix(b"data: "))
    assert name == b"event: error"
    assert (error["type"], error["error"]["type"]) == ("error", "api_error")
    assert error["error"]["code"] == "gateway_stopping"
    assert (seen.row.status, seen.row.estimated) == ("cancelled", True)
    assert seen.row.note == "the gateway stopped mid-stream"
    assert seen.reserved_usd == 0
    assert seen.balanced


async def test_its_estimate_is_near_what_was_sent_and_within_what_was_asked_for(
    world, upstream_answering, books
):
    # A word a delta, each a token, in events of some hundred bytes.
    body = json.dumps({**HELLO, "stream": True, "max_tokens": 100}).encode()
    for words, at_least, at_most in ((60, 60, 120), (300, 100, 100)):
        async with (
            upstream_answering(stream(START, *[WORD] * words, 30)) as upstream,
            serving(grace=0) as (
                server,
                port,
            ),
        ):
            connection = await begun(port, request(world.key, body=body), upstream)
            server.handle_exit(signal.SIGTERM, None)
            await rest_of(*connection)
            seen = await books()

        assert at_least <= seen.rows[-1].output_tokens <= at_most
        assert "Passed its reservation" not in seen.rows[-1].note


async def test_an_openai_stream_ends_with_its_own_kind_of_error(world, upstream_answering, books):
    chunk = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
    body = json.dumps({**HELLO, "stream": True}).encode()
    asked = request(world.key, body=body).replace(b"/v1/messages", b"/v1/chat/completions")
    async with upstream_answering(stream(chunk, chunk, 30)) as upstream, serving(grace=0) as (server, port):
        connection = await begun(port, asked, upstream)
        server.handle_exit(signal.SIGTERM, None)
        text = events(await rest_of(*connection))
        seen = await books()

    *_, last = text.strip().split(b"\n\n")
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "gateway_stopping"
    assert b"[DONE]" not in text
    assert (seen.row.status, seen.row.estimated) == ("cancelled", True)


@pytest.mark.parametrize("policy", ["cancel", "drain"])
async def test_a_call_that_waits_for_its_json_is_told_to_try_again(world, upstream_answering, books, policy):
    async def silent(asked, writer):
        await asyncio.sleep(30)

    await sync_to_async(world.with_limits)(disconnect_policy=policy)
    async with upstream_answering(silent) as upstream, serving(grace=0) as (server, port):
        connection = await begun(port, request(world.key), upstream)
        server.handle_exit(signal.SIGTERM, None)
        answer = await rest_of(*connection)
        seen = await books()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert statuses(answer) == [503]
    assert b"\r\nretry-after: 1" in head
    assert b"\r\nconnection: close" in head
    assert json.loads(body)["error"]["code"] == "gateway_stopping"
    assert (seen.row.status, seen.row.note) == ("cancelled", "the gateway stopped before the response")
    assert seen.reserved_usd == 0


async def test_a_caller_who_does_not_read_holds_nothing_up(world, upstream_answering, books):
    big = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "word " * 20_000})
    body = json.dumps({**HELLO, "stream": True, "max_tokens": 60_000}).encode()
    async with (
        upstream_answering(stream(START, *[big] * 60, 30)) as upstream,
        serving(grace=0) as (
            server,
            port,
        ),
    ):
        _, writer = await begun(port, request(world.key, body=body), upstream)
        writer.transport.pause_reading()
        await asyncio.sleep(0.5)
        server.handle_exit(signal.SIGTERM, None)
        await asyncio.wait_for(asyncio.shield(server.over), 10)
        seen = await books()
        writer.close()

    assert seen.row.note.endswith("the gateway stopped mid-stream")
    assert seen.reserved_usd == 0


async def test_what_ends_in_time_is_whole_and_closes_its_connection(world, upstream_answering, books):
    async def slow(asked, writer):
        await asyncio.sleep(0.5)
        await raw(message())(asked, writer)

    async with upstream_answering(slow) as upstream, serving(grace=20) as (server, port):
        connection = await begun(port, request(world.key), upstream)
        server.handle_exit(signal.SIGTERM, None)
        answer = await rest_of(*connection)
        await asyncio.wait_for(asyncio.shield(server.over), 10)
        seen = await books()

    assert statuses(answer) == [200]
    assert b"\r\nconnection: close\r\n" in answer
    assert (seen.row.status, seen.row.estimated) == ("ok", False)


async def test_a_request_on_its_way_over_an_idle_connection_is_still_answered(world, upstream_answering):
    async with upstream_answering(raw(message())) as upstream, serving(grace=20) as (server, port):
        reader, writer = await begun(port, request(world.key), upstream)
        fresh = await asyncio.open_connection("127.0.0.1", port)
        first = await reader.readuntil(b"}}")
        server.handle_exit(signal.SIGTERM, None)
        await asyncio.sleep(0.3)  # it has stopped to listen
        writer.write(request(world.key))
        fresh[1].write(request(world.key))
        second, third = await rest_of(reader, writer), await rest_of(*fresh)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    assert statuses(first) == [200]
    assert b"connection: close" not in first
    for answer in (second, third):
        assert statuses(answer) == [200]
        assert b"\r\nconnection: close\r\n" in answer


async def test_a_stream_that_ends_meanwhile_leaves_room_for_its_callers_next_request(
    world, upstream_answering
):
    # Its head was sent before the signal and promised a connection that stays open.
    streamed = stream(START, event("content_block_start", index=0), DELTA, 1.5, END, STOP)
    async with upstream_answering(streamed) as upstream, serving(grace=20) as (server, port):
        reader, writer = await begun(port, request(world.key, body=STREAMED), upstream)
        server.handle_exit(signal.SIGTERM, None)
        first = await reader.readuntil(b"\r\n0\r\n\r\n")
        await asyncio.sleep(0.3)
        writer.write(request(world.key, body=STREAMED))
        second = await rest_of(reader, writer)
        await asyncio.wait_for(asyncio.shield(server.over), 10)

    assert statuses(first) == [200]
    assert statuses(second) == [200]
    assert b"connection: close" in second.lower()
    assert b"message_stop" in second


async def test_an_idle_connection_is_closed_and_nothing_waits_for_it(world):
    async with serving(grace=300) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.1)
        server.handle_exit(signal.SIGTERM, None)

        assert await rest_of(reader, writer) == b""
        await asyncio.wait_for(asyncio.shield(server.over), 10)


async def test_a_second_signal_cuts_what_is_left(world, upstream_answering, books):
    async with upstream_answering(stream(START, DELTA, 30)) as upstream, serving(grace=300) as (server, port):
        connection = await begun(port, request(world.key, body=STREAMED), upstream)
        server.handle_exit(signal.SIGTERM, None)
        await asyncio.sleep(0.3)
        server.handle_exit(signal.SIGINT, None)
        text = events(await rest_of(*connection))
        seen = await books()

    assert b"gateway_stopping" in text
    assert seen.row.status == "cancelled"


async def test_a_call_that_is_drained_for_a_caller_who_left_is_settled_too(world, upstream_answering, books):
    await sync_to_async(world.with_limits)(disconnect_policy="drain")
    async with (
        upstream_answering(stream(START, DELTA, 30, END, STOP)) as upstream,
        serving(grace=0) as (
            server,
            port,
        ),
    ):
        _, writer = await begun(port, request(world.key, body=STREAMED), upstream)
        writer.close()
        await asyncio.sleep(0.1)
        server.handle_exit(signal.SIGTERM, None)
        await asyncio.wait_for(asyncio.shield(server.over), 20)
        seen = await books()

    assert (seen.row.status, seen.row.note) == ("cancelled", "the caller disconnected mid-stream")
    assert seen.reserved_usd == 0
    assert seen.balanced


async def test_a_page_of_the_control_plane_is_answered_too(world, monkeypatch):
    async def never(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass

    monkeypatch.setattr("gateway_project.asgi.control_plane", never)
    async with serving(grace=0) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /admin/ HTTP/1.1\r\nhost: a\r\n\r\n")
        await asyncio.sleep(0.1)
        server.handle_exit(signal.SIGTERM, None)
        answer = await rest_of(reader, writer)

    assert statuses(answer) == [503]
