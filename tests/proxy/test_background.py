"""Work that outlives its request."""

import asyncio

from proxy.background import Background


async def test_the_end_waits_for_work_and_for_what_that_begins():
    background, done = Background(), []

    async def second():
        await asyncio.sleep(0)
        done.append("second")

    async def first():
        await asyncio.sleep(0)
        background.keep(second())
        done.append("first")

    background.keep(first())
    await background.finish(seconds=5)

    assert done == ["first", "second"]


async def test_the_end_does_not_wait_for_ever():
    background = Background()
    task = background.keep(asyncio.Event().wait())

    await background.finish(seconds=0.01)

    assert not task.done()
    task.cancel()


async def test_a_failure_is_logged_and_harms_nothing_else(caplog):
    background = Background()

    async def fails():
        raise ValueError("broken")

    background.keep(fails())
    await background.finish(seconds=5)
    await asyncio.sleep(0)

    assert "Work in the background failed" in caplog.text


async def test_who_waits_for_work_may_be_cancelled_without_ending_it():
    background, done = Background(), asyncio.Event()

    async def work():
        await asyncio.sleep(0.01)
        done.set()

    async def request():
        await asyncio.shield(background.keep(work()))

    waiting = asyncio.create_task(request())
    await asyncio.sleep(0)
    waiting.cancel()
    await background.finish(seconds=5)

    assert done.is_set()
