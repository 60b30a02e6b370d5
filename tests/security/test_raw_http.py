"""Bytes that no client library would send, to a real server: smuggling, tricks with headers, slow bodies."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import pytest
import uvicorn

from gateway_project.ground import http_protocol
from gateway_project.web import configured
from tests.proxy.conftest import books, upstream_answering, world
from tests.proxy.gateway import HELLO
from tests.proxy.scripted_upstream import message, raw

__all__ = ["books", "upstream_answering", "world"]
pytestmark = pytest.mark.django_db(transaction=True)
BODY = json.dumps(HELLO).encode()


@asynccontextmanager
async def served():
    """The port of a server as `gateway_project.web` configures it."""
    server = uvicorn.Server(configured(loop="none", lifespan="off", log_level="error"))
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server._serve([listener]))  # `serve` would take the suite's signal handlers
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def talk(port: int, data: bytes, *, seconds: float = 3) -> bytes:
    """All the server answers to `data` until it closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = b""
    try:
        while piece := await asyncio.wait_for(reader.read(65536), seconds):
            answer += piece
            seconds = 0.3
    except (TimeoutError, ConnectionResetError):
        pass
    writer.close()
    return answer


def request(key: str, *extra: bytes, body: bytes = BODY, length: bool = True) -> bytes:
    lines = [b"POST /v1/messages HTTP/1.1", b"host: 127.0.0.1", b"content-type: application/json"]
    lines += [b"x-api-key: " + key.encode()] if key else []
    lines += [b"content-length: %d" % len(body)] if length else []
    return b"\r\n".join([*lines, *extra]) + b"\r\n\r\n" + body


def statuses(answer: bytes) -> list[int]:
    return [int(each[:3]) for each in answer.split(b"HTTP/1.1 ")[1:]]


async def told(world, upstream_answering, books, data: bytes) -> tuple[list[int], int, int]:
    """The statuses answered, how often the upstream was called, and how many ledger rows there are."""
    async with upstream_answering(raw(message())) as upstream, served() as port:
        answer = await talk(port, data)
        seen = await books()
        return statuses(answer), len(upstream.asked), len(seen.rows)


async def test_a_plain_request_is_served(world, upstream_answering, books):
    assert await told(world, upstream_answering, books, request(world.key)) == ([200], 1, 1)


async def test_two_requests_on_one_connection_are_two_calls(world, upstream_answering, books):
    assert await told(world, upstream_answering, books, request(world.key) * 2) == ([200, 200], 2, 2)


@pytest.mark.parametrize(
    "extra",
    [
        (b"transfer-encoding: chunked",),
        (b"content-length: 3",),
        (b"content-length: +%d" % len(BODY),),
        (b"transfer-encoding: chunked", b"transfer-encoding: identity"),
        (b"transfer-encoding: xchunked",),
        (b"x-folded: one\r\n two",),
        (b"x api-key: two",),
        (b"x-nul: a\0b",),
        (b": no-name",),
    ],
    ids=[
        "CL+TE",
        "double CL",
        "signed CL",
        "TE twice",
        "odd TE",
        "obs-fold",
        "space in name",
        "NUL",
        "nameless",
    ],
)
async def test_framing_that_two_servers_could_read_in_two_ways_never_makes_a_second_request(
    world, upstream_answering, books, extra
):
    hidden = b"0\r\n\r\n" + request(world.key)

    answered, asked, rows = await told(
        world, upstream_answering, books, request(world.key, *extra, body=BODY) + hidden
    )

    assert 200 not in answered[1:]
    assert asked <= 1
    assert rows == asked


@pytest.mark.parametrize(
    "lines",
    [
        (b"x_api_key: KEY",),
        (b"x-api-key: KEY", b"x-api-key: KEY"),
        (b"x-api-key: KEY", b"authorization: Bearer tn_other"),
        (b"authorization: Bearer KEY' OR '1'='1",),
        (b"authorization: Bearer KEY\t", b"authorization: Bearer KEY"),
        (b"x-api-key: KE",),
        (b"x-api-key: %s" % (b"tn_" + b"a" * 4000),),
    ],
    ids=["underscore twin", "twice", "two keys", "SQL", "bearer twice", "prefix", "long"],
)
async def test_a_key_that_is_not_shown_plainly_opens_nothing(world, upstream_answering, books, lines):
    extra = [
        line.replace(b"KEY", world.key.encode()).replace(b"KE", world.key[:12].encode()) for line in lines
    ]

    answered, asked, rows = await told(world, upstream_answering, books, request("", *extra))

    assert (answered, asked, rows) == ([401], 0, 0)


@pytest.mark.parametrize(
    "host", [b"evil.example.com", b"127.0.0.1@evil.example.com", b"localhost:1/../", b""]
)
async def test_the_host_header_opens_and_redirects_nothing(world, upstream_answering, books, host):
    data = request("").replace(b"host: 127.0.0.1", b"host: " + host)

    answered, asked, _ = await told(world, upstream_answering, books, data)

    assert answered[0] in (400, 401)
    assert asked == 0


async def test_the_upstream_is_never_chosen_by_the_caller(world, upstream_answering, books):
    body = json.dumps(
        {**HELLO, "base_url": "http://127.0.0.1:9", "api_base": "http://127.0.0.1:9", "api_key": "x"}
    ).encode()
    extra = [
        b"x-forwarded-host: evil.example.com",
        b"x-upstream: http://127.0.0.1:9",
        b"x-base-url: http://127.0.0.1:9",
    ]

    answered, asked, _ = await told(world, upstream_answering, books, request(world.key, *extra, body=body))

    assert (answered, asked) == ([200], 1)


async def test_an_absolute_target_is_only_a_path(world, upstream_answering, books):
    data = request(world.key).replace(b"POST /v1", b"POST http://evil.example.com/v1")

    answered, asked, _ = await told(world, upstream_answering, books, data)

    assert answered[0] in (200, 400, 404)
    assert asked == (answered[0] == 200)


async def test_a_head_that_does_not_end_is_cut_off(world, upstream_answering, books):
    data = b"POST /v1/messages HTTP/1.1\r\nhost: a\r\n" + b"x-filler: " + b"a" * 1_000_000

    answered, asked, _ = await told(world, upstream_answering, books, data)

    assert (answered, asked) == ([431], 0)


async def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.1)
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/messages HTT")

        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_body_that_does_not_come_is_given_up(world, upstream_answering, books, settings):
    settings.BODY_TIMEOUT = 0.2
    data = request(world.key).replace(b"content-length: ", b"content-length: 1")

    async with upstream_answering(raw(message())) as upstream, served() as port:
        answer = await talk(port, data)

    assert (statuses(answer), upstream.asked) == ([408], [])
    assert b'"code":"request_timeout"' in answer


async def test_a_body_that_is_too_large_is_refused_while_it_arrives(
    world, upstream_answering, books, settings
):
    settings.BODY_LIMIT_BYTES = 1000
    data = request(world.key, body=b"x" * 5000)

    answered, asked, _ = await told(world, upstream_answering, books, data)

    assert (answered, asked) == ([413], 0)
