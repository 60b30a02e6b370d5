import asyncio

import pytest
from django.core.exceptions import RequestAborted

from proxy.pipeline.body import BodyTooSlow, RequestTooLarge, read_body


def receiving(*parts: bytes, ends: bool = True):
    """A receive function that delivers `parts`, and then either ends the body or falls silent."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if ends:
        messages[-1]["more_body"] = False
    waiting = iter(messages)

    async def receive():
        for message in waiting:
            return message
        return await asyncio.sleep(60)

    return receive


async def read(receive, *, limit=10, declared=None, seconds=0.2):
    return await read_body(receive, declared=declared, limit=limit, seconds=seconds)


async def test_a_body_arrives_in_one_piece_or_in_many():
    assert await read(receiving(b"0123456789")) == b"0123456789"
    assert await read(receiving(b"01234", b"", b"56789")) == b"0123456789"


@pytest.mark.parametrize("parts", [(b"x" * 11,), (b"x" * 6, b"x" * 5), (b"x" * 11, b"x" * 30, b"x")])
async def test_a_body_over_the_limit_is_refused_however_it_is_cut(parts):
    with pytest.raises(RequestTooLarge):
        await read(receiving(*parts))


async def test_a_body_declared_far_too_large_is_refused_before_it_is_read():
    async def receive():
        raise AssertionError("nothing may be read")

    with pytest.raises(RequestTooLarge) as caught:
        await read(receive, declared=21)

    assert caught.value.headers == {"connection": "close"}


async def test_a_body_a_little_too_large_is_read_to_its_end_so_that_the_caller_can_hear_the_answer():
    receive = receiving(b"x" * 11, b"x" * 4)

    with pytest.raises(RequestTooLarge) as caught:
        await read(receive)

    assert caught.value.headers == {}


async def test_a_body_that_does_not_arrive_in_time_is_refused():
    with pytest.raises(BodyTooSlow):
        await read(receiving(b"x", ends=False), seconds=0.05)


async def test_a_caller_that_leaves_in_the_middle_is_not_answered():
    async def receive():
        return {"type": "http.disconnect"}

    with pytest.raises(RequestAborted):
        await read(receive)
