"""The transport against real sockets: what a server may do to a client that keeps its connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from proxy.upstream.http1 import Http1Transport

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Counts its connections; `talk` is called once for each and speaks for all of its requests."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.connections = 0
        self.port = 0
        self.transport = Http1Transport()

    async def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left
        finally:
            writer.close()

    async def ask(self, body: bytes = b"{}", *, read: float = 1.0) -> httpx.Response:
        return await self.transport.handle_async_request(
            httpx.Request(
                "POST",
                f"http://127.0.0.1:{self.port}/v1/messages",
                content=body,
                extensions={"timeout": {"connect": 1.0, "read": read, "total": 10.0}},
            )
        )

    async def read(self, body: bytes = b"{}") -> bytes:
        stream = body_of(await self.ask(body))
        try:
            return b"".join([piece async for piece in stream])
        finally:
            await stream.aclose()


def body_of(answer: httpx.Response) -> httpx.AsyncByteStream:
    assert isinstance(answer.stream, httpx.AsyncByteStream)
    return answer.stream


@asynccontextmanager
async def server_that(talk: Talk) -> AsyncIterator[Server]:
    ours = Server(talk)
    listening = await asyncio.start_server(ours.on_connection, "127.0.0.1", 0)
    ours.port = listening.sockets[0].getsockname()[1]
    yield ours
    await ours.transport.aclose()
    listening.close()


async def request(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


def answering(*answers: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await request(reader)
            writer.write(answer)
            await writer.drain()
        await reader.read()

    return talk


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def test_a_connection_whose_answer_was_read_serves_the_next_request():
    async with server_that(answering(OK, OK)) as server:
        assert [await server.read(), await server.read()] == [b"ok", b"ok"]
        assert server.connections == 1


async def test_an_answer_that_was_not_read_to_its_end_costs_its_connection():
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha"
    async with server_that(answering(half)) as server:
        for _ in range(2):
            answer = await server.ask()
            await body_of(answer).aclose()
        assert server.connections == 2


async def test_an_answer_that_came_whole_and_unread_is_not_part_of_the_next():
    async def two(reader, writer):
        for number in (b"one", b"two"):
            await reader.readuntil(b"{}")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n" + number)

    async with server_that(two) as server:
        unread = body_of(await server.ask())
        await asyncio.sleep(0.01)
        await unread.aclose()

        assert await server.read() == b"two"
        assert server.connections == 1


async def test_bytes_after_an_answer_never_become_the_next_answer():
    async with server_that(answering(OK + OK, OK)) as server:
        await server.read()
        await asyncio.sleep(0.05)
        await server.read()
        assert server.connections == 2


async def test_connection_close_is_obeyed():
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    async with server_that(answering(closing, OK)) as server:
        await server.read()
        await server.read()
        assert server.connections == 2


async def test_what_is_not_http_is_refused():
    async with server_that(answering(b"220 mail ready\r\n")) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await server.ask()


async def test_a_large_request_body_arrives_whole():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = b"%d" % len(await request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(size), size))
        await reader.read()

    async with server_that(talk) as server:
        assert await server.read(b"y" * 5_000_000) == b"5000000"


async def test_a_header_that_would_add_a_line_is_never_sent():
    async with server_that(answering(OK)) as server:
        with pytest.raises(httpx.LocalProtocolError):
            await server.transport.handle_async_request(
                httpx.Request(
                    "POST",
                    f"http://127.0.0.1:{server.port}/",
                    headers=[(b"x-a", b"1\r\nx-b: 2")],
                    extensions={"timeout": {"connect": 1.0, "read": 1.0, "total": 1.0}},
                )
            )
