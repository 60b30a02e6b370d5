"""What a request asks of Redis: once to be admitted, once to be settled, nothing else."""

import threading

import pytest
from asgiref.sync import sync_to_async

from tests.proxy.gateway import finished, post
from tests.proxy.scripted_upstream import DELTA, END, SONNET, STOP, event, message, raw, stream

pytestmark = pytest.mark.django_db(transaction=True)
# Of calls that stay within what is reserved for them; the others are counted as well.
ANSWER = message(input_tokens=10, output_tokens=50)
BEGIN = event("message_start", message={"model": SONNET, "usage": {"input_tokens": 10, "output_tokens": 1}})


class Overheard:
    """The commands that clients sent while the block ran, without those that scripts made themselves."""

    def __init__(self, client):
        self._client, self.commands = client, []

    def __enter__(self):
        self._monitor = self._client.monitor().__enter__()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._client.echo("that is all")
        self._thread.join(10)
        self._monitor.__exit__(*exc)

    def _listen(self):
        while (heard := self._monitor.next_command())["command"] != "ECHO that is all":
            command = heard["command"].split()[0]
            if heard["client_type"] != "lua" and command not in ("HELLO", "CLIENT"):  # a connection's first
                self.commands.append(command)


@pytest.mark.parametrize(
    "fields",
    [{}, {"stream": True}, {"metadata": {"user_id": "ann"}}],
    ids=["JSON", "stream", "end user"],
)
@pytest.mark.parametrize(
    "headers", [{}, {"x-tenantry-run-id": "r", "x-tenantry-run-max-usd": "1"}], ids=["", "run"]
)
async def test_a_request_is_two_commands_to_redis(
    world, upstream_answering, books, redis_server, fields, headers
):
    talk = stream(BEGIN, DELTA, END, STOP) if fields.get("stream") else raw(ANSWER)
    async with upstream_answering(talk):
        await post(world.key, **fields, headers=headers)  # warm from here on
        await books()
        with Overheard(redis_server) as overheard:
            answer = await post(world.key, **fields, headers=headers)
            await finished()

    assert answer.status == 200
    assert overheard.commands == ["EVALSHA", "EVALSHA"]


async def test_a_refusal_is_one(world, upstream_answering, redis_server):
    await sync_to_async(world.with_limits)(max_requests_per_minute=1)
    async with upstream_answering(raw(ANSWER)):
        await post(world.key)
        with Overheard(redis_server) as overheard:
            answer = await post(world.key)

    assert answer.status == 429
    assert overheard.commands == ["EVALSHA"]


async def test_a_changed_policy_costs_its_reading_once(world, upstream_answering, redis_server):
    async with upstream_answering(raw(ANSWER)):
        await post(world.key)
        await sync_to_async(world.with_limits)(max_requests_per_minute=500)
        with Overheard(redis_server) as first:
            await post(world.key)
            await finished()
        with Overheard(redis_server) as second:
            await post(world.key)
            await finished()

    assert first.commands.count("EVALSHA") == 3  # found stale, admitted, settled
    assert second.commands == ["EVALSHA", "EVALSHA"]
