"""uvicorn's HTTP/1.1 with the gateway's bounds and short ways."""

import asyncio

import pytest

from gateway_project.ground.http_protocol import _head
from tests.proxy.conftest import upstream_answering as upstream_answering  # a fixture
from tests.proxy.conftest import world as world  # a fixture
from tests.proxy.scripted_upstream import message, raw
from tests.security.test_raw_http import request, served, statuses, talk

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_connection_that_is_to_be_closed_is(world, upstream_answering):
    async with upstream_answering(raw(message())), served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(world.key, b"connection: close"))
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()

    assert statuses(answer) == [200]
    assert b"\r\nconnection: close\r\n" in answer.lower()


async def test_head_has_no_body(world):
    async with served() as port:
        line = b"HEAD /v1/models HTTP/1.1\r\nhost: a\r\nx-api-key: "
        answer = await talk(port, line + world.key.encode() + b"\r\n\r\n")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert statuses(head) == [200]
    assert body == b""


@pytest.mark.parametrize("value", [b"a\r\nx: b", b"a\nb", b"a\rb", b"a\0b"])
def test_a_header_that_would_add_a_line_is_none(value):
    with pytest.raises(RuntimeError):
        _head(200, [(b"x-tenantry-model", value)])
