"""What one request may cost, in counts that are the same on every machine.

A count that rises here is a cost that every request pays: raise a bound with a reason, lower it when it falls.
"""

import asyncio
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from asgiref.sync import sync_to_async
from django.db.backends.utils import CursorWrapper

from gateway_project.ground.redis_keys import SHARDS, shard_of
from tests.factories import ApiKeyFactory, TenantFactory
from tests.proxy.gateway import caller, finished, post
from tests.proxy.scripted_upstream import DELTA, END, START, STOP, message, raw, stream

HOME = Path(__file__).resolve().parent.parent.parent
ROOMS = tuple(f"{HOME / room}/" for room in ("billing", "gateway_project", "proxy", "routing", "tenants"))
# Functions of ours that are entered for a JSON call, and for each delta of a stream when all come apart.
# Measured: 219 and 13. The rest is room for another version of Python.
MOST_FUNCTIONS, MOST_FUNCTIONS_A_DELTA = 228, 14

# Within what was held for it: an overrun is counted in Redis besides.
USUAL = message(input_tokens=12, output_tokens=5)


@contextmanager
def functions_entered():
    """Counts the project's functions that this thread enters; a coroutine that is resumed is not entered."""
    entered: Counter[str] = Counter()
    frames: set[FrameType] = set()

    def seen(frame, event, _):
        code = frame.f_code
        # A comprehension is a function in one version of Python and none in another.
        if code.co_filename.startswith(ROOMS) and not code.co_name.startswith("<") and frame not in frames:
            frames.add(frame)
            entered[code.co_qualname] += 1

    sys.setprofile(seen)
    try:
        yield entered
    finally:
        sys.setprofile(None)


@contextmanager
def commands_sent(redis_server):
    """The commands Redis is sent meanwhile; not those that scripts call inside it."""
    sent: list[str] = []
    with redis_server.monitor() as monitor:
        redis_server.echo("begin")
        yield sent
        redis_server.echo("over")
        for command in monitor.listen():
            if command["command"] == "ECHO begin":
                sent.clear()  # what came before was this client's own greeting
            elif command["command"] == "ECHO over":
                return
            elif command["client_type"] != "lua":
                sent.append(command["command"].split(" ", 1)[0])


@pytest.fixture
def statements(monkeypatch):
    """The SQL of every thread of this process."""
    made = []
    for name in ("execute", "executemany"):
        real = getattr(CursorWrapper, name)

        def counted(cursor, sql, *arguments, real=real):
            made.append(sql)
            return real(cursor, sql, *arguments)

        monkeypatch.setattr(CursorWrapper, name, counted)
    return made


async def warm(world, times=3):
    for _ in range(times):
        await post(world.key)
    await finished()


async def test_a_call_costs_two_redis_commands_and_no_sql(
    world, upstream_answering, redis_server, statements
):
    async with upstream_answering(raw(USUAL)):
        await warm(world)
        assert statements  # the first call read the policy and the prices
        statements.clear()
        with commands_sent(redis_server) as sent:
            for _ in range(10):
                await post(world.key)
            await finished()

    assert sent == ["EVALSHA"] * 20
    assert statements == []


async def test_tenants_of_every_shard_who_call_by_turns_cost_no_sql_either(
    world, upstream_answering, statements
):
    def one_more():
        tenant = TenantFactory(tier=world.tenant.tier, models=[world.sonnet])
        return tenant.pk, ApiKeyFactory(tenant=tenant).plain

    tenants = [await sync_to_async(one_more)() for _ in range(SHARDS)]
    assert {shard_of(tenant_id) for tenant_id, _ in tenants} == set(range(SHARDS))
    async with upstream_answering(raw(USUAL)):
        for _, key in tenants:
            await post(key)
        await finished()
        statements.clear()
        for _, key in tenants * 2:
            assert (await post(key)).status == 200
        await finished()

    assert statements == []


async def test_a_call_starts_no_thread_and_no_task(world, upstream_answering):
    async with upstream_answering(raw(USUAL)):
        await warm(world)
        threads, tasks = set(threading.enumerate()), []

        def counted(loop, work, **options):
            if work.cr_code.co_filename.startswith(ROOMS):
                tasks.append(work.__qualname__)
            return asyncio.Task(work, loop=loop, **options)

        asyncio.get_running_loop().set_task_factory(counted)
        await post(world.key)
        await finished()
        asyncio.get_running_loop().set_task_factory(None)
        threads_after = set(threading.enumerate())

    assert threads_after == threads
    assert tasks == []


async def test_a_call_enters_no_more_functions_than_it_did(world, upstream_answering):
    async with upstream_answering(raw(USUAL)):
        await warm(world)
        request = caller(world.key)
        with functions_entered() as entered:
            await request.call()
            await finished()

    assert entered.total() <= MOST_FUNCTIONS, entered.most_common(40)


async def test_a_delta_enters_no_more_functions_than_it_did(world, upstream_answering):
    seen = []
    for deltas in (100, 300):
        apart: list[bytes | float] = [DELTA, 0.001] * deltas
        async with upstream_answering(stream(START, *apart, END, STOP)):
            await warm(world, times=2)
            request = caller(world.key, stream=True, max_tokens=60_000)
            with functions_entered() as entered:
                await request.call()
                await finished()
        assert request.answer.body.count(b"content_block_delta") == 2 * deltas
        seen.append(entered.total())

    assert (seen[1] - seen[0]) / 200 <= MOST_FUNCTIONS_A_DELTA, entered.most_common(40)
