"""What a web process does beside its calls, and what it leaves behind: nothing."""

import asyncio
import threading

import pytest

from billing.meter.heartbeat import Heartbeat
from proxy import runtime as module
from proxy.runtime import Runtime
from tests.billing.meter.test_heartbeat import admitted
from tests.billing.meter.test_heartbeat import tenant as tenant  # a fixture


async def test_the_heart_beats_on_whatever_went_wrong(monkeypatch):
    beats = []

    async def beat(self, worker):
        beats.append(worker)
        raise ValueError("an answer nobody expected")

    async def flush(self):
        raise OSError("standard output is closed")

    monkeypatch.setattr(Heartbeat, "beat", beat)
    monkeypatch.setattr(Runtime, "flush", flush)
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    beating = asyncio.create_task(Runtime()._beat())
    async with asyncio.timeout(5):
        while len(beats) < 3:  # noqa: ASYNC110 - a plain list, in tests only
            await asyncio.sleep(0.01)
    beating.cancel()

    assert len(beats) >= 3


async def test_two_runtimes_share_nothing():
    one, other = Runtime(), Runtime()

    one.output_sizes.learn(1, "sonnet", 8000)
    one.breakers.of("ezai", "sonnet").failures.append(1.0)

    assert other.output_sizes.expected(1, "sonnet") != one.output_sizes.expected(1, "sonnet")
    assert other.breakers.of("ezai", "sonnet").failures == []
    assert other.limiters.of("ezai") is not one.limiters.of("ezai")
    assert other.upstreams.at("http://127.0.0.1:1") is not one.upstreams.at("http://127.0.0.1:1")


@pytest.mark.django_db(transaction=True)
async def test_a_closed_runtime_leaves_no_task_and_no_thread(tenant):
    await admitted(tenant)  # for the first beat to look for in the ledger
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    runtime = Runtime()
    runtime.start()
    await runtime.reports.read(lambda: None)
    await asyncio.sleep(0.05)

    await runtime.close()
    async with asyncio.timeout(5):
        while set(threading.enumerate()) - threads or asyncio.all_tasks() - tasks:  # noqa: ASYNC110 - threads end by themselves
            await asyncio.sleep(0.01)

    assert set(threading.enumerate()) <= threads
    assert asyncio.all_tasks() <= tasks
