import asyncio

import pytest

from proxy.pipeline.caller import CallerConnection


class Caller:
    """A caller on a connection that it can leave."""

    def __init__(self, *, tells):
        self._gone = asyncio.Event()
        self._told = None
        self.connection = (self.receive, self.on_disconnect if tells else None)

    def leave(self):
        self._gone.set()
        if self._told:
            self._told()

    def on_disconnect(self, told):
        self._told = told

    async def receive(self):
        await self._gone.wait()
        return {"type": "http.disconnect"}


@pytest.fixture(params=[True, False], ids=["a server that tells", "any ASGI server"])
def caller(request):
    return Caller(tells=request.param)


async def test_work_is_cancelled_when_its_caller_leaves(caller):
    reached = []

    async with CallerConnection(*caller.connection):
        caller.leave()
        await asyncio.sleep(1)
        reached.append("the end")

    assert reached == []
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_an_uncut_section_runs_to_its_end_and_the_next_wait_is_cancelled(caller):
    reached = []

    async with CallerConnection(*caller.connection) as client:
        with client.uncut():
            caller.leave()
            await asyncio.sleep(0.02)
            reached.append("end of section")
        await asyncio.sleep(0)
        reached.append("after it")

    assert client.left
    assert reached == ["end of section"]


async def test_a_disconnect_after_the_answer_cancels_nothing(caller):
    reached = []

    async with CallerConnection(*caller.connection) as client:
        client.answered = True
        caller.leave()
        await asyncio.sleep(0.01)
        reached.append("the end")

    assert reached == ["the end"]


async def test_a_cancellation_by_the_server_is_not_swallowed(caller):

    async def serve():
        async with CallerConnection(*caller.connection):
            await asyncio.sleep(1)

    task = asyncio.create_task(serve())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
