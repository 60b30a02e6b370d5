import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from proxy.upstream.client import Timeouts, UpstreamClient, UpstreamTimeout, UpstreamUnavailable

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SOON = Timeouts(connect=0.3, read=0.3, idle=0.3, total=1)


@asynccontextmanager
async def upstream_that(talk: Talk) -> AsyncIterator[UpstreamClient]:
    """An upstream on a real socket, whose server reads the request's head and then does what `talk` does."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream = UpstreamClient(base_url=f"http://127.0.0.1:{port}", timeouts=SOON)
    yield upstream
    await upstream.close()
    server.close()


async def send(upstream: UpstreamClient, *, stream: bool = False):
    return await upstream.send(target="/v1/messages", headers={"x-api-key": "k"}, body=b"{}", stream=stream)


async def test_an_answer_has_status_headers_and_body():
    async def talk(reader, writer):
        writer.write(b"HTTP/1.1 418 Teapot\r\nX-One: 1\r\ncontent-length: 5\r\n\r\nshort")

    async with upstream_that(talk) as upstream:
        answer = await send(upstream)

        assert answer.status == 418
        assert answer.header(b"x-one") == "1"
        assert await answer.read() == b"short"


async def test_what_is_sent_is_what_was_given_and_nothing_of_the_library():
    seen = []

    async def talk(reader, writer):
        seen.append(await reader.readexactly(2))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    heads = []

    async def on_connection(reader, writer):
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    upstream = UpstreamClient(
        base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeouts=SOON
    )
    await (await send(upstream)).read()
    await upstream.close()
    server.close()

    lines = heads[0].decode().strip().split("\r\n")
    names = {line.split(":")[0].lower() for line in lines[1:]}
    assert lines[0] == "POST /v1/messages HTTP/1.1"
    assert names == {"host", "x-api-key", "content-length"}
    assert seen == [b"{}"]


async def test_a_refused_connection_never_reached_the_upstream():
    upstream = UpstreamClient(base_url="http://127.0.0.1:1", timeouts=SOON)

    with pytest.raises(UpstreamUnavailable) as caught:
        await send(upstream)

    await upstream.close()
    assert (caught.value.status, caught.value.reached) == (502, False)


async def test_a_connection_cut_before_the_answer_may_have_reached_it():
    async def talk(reader, writer):
        writer.transport.abort()

    async with upstream_that(talk) as upstream:
        with pytest.raises(UpstreamUnavailable) as caught:
            await send(upstream)

    assert (caught.value.status, caught.value.reached) == (502, True)


@pytest.mark.parametrize("stream", [False, True])
async def test_silence_is_a_timeout(stream):
    async def talk(reader, writer):
        await asyncio.sleep(2)

    async with upstream_that(talk) as upstream:
        with pytest.raises(UpstreamTimeout) as caught:
            await send(upstream, stream=stream)

    assert (caught.value.status, caught.value.reached) == (504, True)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_never_ends_is_a_timeout_although_it_is_never_silent(stream):
    async def talk(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while not writer.is_closing():
            writer.write(b": still here\n\n")
            await asyncio.sleep(0.05)

    async with upstream_that(talk) as upstream:
        answer = await send(upstream, stream=stream)
        with pytest.raises(UpstreamTimeout):
            await answer.read()


async def test_silence_in_the_middle_of_a_stream_is_a_timeout():
    async def talk(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n")
        await asyncio.sleep(2)

    async with upstream_that(talk) as upstream:
        answer = await send(upstream, stream=True)
        with pytest.raises(UpstreamTimeout):
            await answer.read()


async def test_a_body_cut_short_is_no_answer():
    async def talk(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")

    async with upstream_that(talk) as upstream:
        answer = await send(upstream)
        with pytest.raises(UpstreamUnavailable):
            await answer.read()


async def test_closing_an_unfinished_answer_closes_the_connection():
    closed = asyncio.Event()

    async def talk(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()
        closed.set()

    async with upstream_that(talk) as upstream:
        answer = await send(upstream, stream=True)
        await answer.close()

        await asyncio.wait_for(closed.wait(), 1)


async def test_cookies_of_one_answer_never_ride_on_the_next_request():
    heads = []

    async def on_connection(reader, writer):
        for _ in range(2):
            heads.append(await reader.readuntil(b"{}"))
            writer.write(b"HTTP/1.1 200 OK\r\nset-cookie: who=tenant-a\r\ncontent-length: 2\r\n\r\n{}")

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    upstream = UpstreamClient(
        base_url=f"http://localhost:{server.sockets[0].getsockname()[1]}", timeouts=SOON
    )
    for _ in range(2):
        await (await send(upstream)).read()
    await upstream.close()
    server.close()

    assert b"cookie" not in heads[1].lower()
