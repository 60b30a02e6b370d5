"""Calls over a real connection to the product's own server: the short ways that it has beside ASGI's messages."""

import asyncio
import json
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from tests.proxy.gateway import HELLO, post
from tests.proxy.scripted_upstream import DELTA, END, START, STOP, message, raw, stream
from tests.security.test_raw_http import request, served, statuses, talk

pytestmark = pytest.mark.django_db(transaction=True)
STREAMED = json.dumps({**HELLO, "stream": True}).encode()


async def slow_head(asked, writer):
    await asyncio.sleep(0.5)
    await raw(message())(asked, writer)


async def hang_up(port, data, upstream):
    """Send a call and leave once the upstream has it."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(10):
        while not upstream.asked:  # noqa: ASYNC110 - a plain list, in tests only
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    writer.close()


@pytest.mark.parametrize(("policy", "status"), [("cancel", "cancelled"), ("drain", "cancelled")])
@pytest.mark.parametrize(
    ("body", "answer"),
    [(json.dumps(HELLO).encode(), slow_head), (STREAMED, stream(START, DELTA, 0.5, DELTA, END, STOP))],
    ids=["JSON", "stream"],
)
async def test_a_caller_who_hangs_up_is_noticed(
    world, upstream_answering, books, policy, status, body, answer
):
    await sync_to_async(world.with_limits)(disconnect_policy=policy)
    async with upstream_answering(answer) as upstream, served() as port:
        await hang_up(port, request(world.key, body=body), upstream)
        await asyncio.sleep(0.7 if policy == "drain" else 0.1)
        seen = await books()

    assert (seen.row.status, seen.row.estimated) == (status, policy == "cancel")
    assert seen.balanced


async def test_a_connection_serves_one_call_after_the_other(world, upstream_answering, books):
    async with upstream_answering(raw(message())), served() as port:
        answer = await talk(port, request(world.key) + request(world.key))
        seen = await books()

    assert statuses(answer) == [200, 200]
    assert answer.count(b"\r\nx-tenantry-cost-usd: 0.003750\r\n") == len(seen.rows) == 2


async def test_the_running_call_is_told_although_another_one_waits_behind_it(
    world, upstream_answering, books
):
    async with upstream_answering(slow_head) as upstream, served() as port:
        await hang_up(port, request(world.key) + request(world.key), upstream)
        await asyncio.sleep(0.1)
        seen = await books()

    assert (seen.row.status, seen.row.estimated) == ("cancelled", True)
    assert seen.balanced


async def test_any_other_asgi_server_serves_it_too(world, upstream_answering, books):
    async with upstream_answering(raw(message())):
        answer = await post(world.key, plain=True)
        seen = await books()

    assert (answer.status, answer.headers["content-length"]) == (200, str(len(answer.body)))
    assert seen.row.cost_usd == Decimal("0.003750")
