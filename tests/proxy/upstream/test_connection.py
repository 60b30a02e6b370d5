"""One connection to an upstream: an answer parsed as it comes, and the clock that runs meanwhile."""

import asyncio

import httpx
import pytest

from proxy.upstream.connection import HIGH_WATER
from tests.proxy.upstream.test_http1 import OK, answering, body_of, request, server_that


async def test_a_chunked_body_with_a_trailer_is_read_to_its_end():
    chunked = (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nay!\r\n0\r\nx-t: 1\r\n\r\n"
    )
    async with server_that(answering(chunked, OK)) as server:
        assert await server.read() == b"okay!"
        assert await server.read() == b"ok"
        assert server.connections == 1


async def test_interim_answers_are_passed_over():
    async with server_that(answering(b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + OK)) as server:
        answer = await server.ask()
        assert answer.status_code == 200
        assert "link" not in answer.headers
        await body_of(answer).aclose()


async def test_a_body_without_length_ends_with_its_connection():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        await writer.drain()

    async with server_that(talk) as server:
        assert await server.read() == b"all of it"


async def test_a_body_cut_off_is_an_error_after_what_came():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        await writer.drain()

    async with server_that(talk) as server:
        answer = await server.ask()
        pieces = aiter(body_of(answer))
        assert await anext(pieces) == b"half"
        with pytest.raises(httpx.ReadError):
            await anext(pieces)
        await body_of(answer).aclose()


async def test_silence_is_a_timeout():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server_that(talk) as server:
        with pytest.raises(httpx.ReadTimeout):
            await server.ask(read=0.1)


async def test_a_slow_reader_holds_the_upstream_back_and_loses_nothing():
    size = HIGH_WATER * 8

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
        await writer.drain()
        await reader.read()

    async with server_that(talk) as server:
        answer = await server.ask()
        seen = 0
        async for piece in body_of(answer):
            seen += len(piece)
            await asyncio.sleep(0.001)
        assert seen == size
        await body_of(answer).aclose()
