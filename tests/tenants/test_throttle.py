"""Guessing keys is stopped by address."""

import pytest

from tenants.throttle import MOST_FAILURES, FailureWindow, TooManyFailures
from tests.proxy.conftest import upstream_answering as upstream_answering  # a fixture
from tests.proxy.conftest import world as world  # a fixture
from tests.proxy.gateway import post
from tests.proxy.scripted_upstream import message, raw


def test_an_address_that_guesses_is_stopped_and_forgiven():
    window = FailureWindow()
    for _ in range(MOST_FAILURES):
        window.check("10.0.0.1", 0)
        window.failed("10.0.0.1", 0)
    with pytest.raises(TooManyFailures):
        window.check("10.0.0.1", 1)
    window.check("10.0.0.2", 1)
    window.check("10.0.0.1", 11)


@pytest.mark.django_db(transaction=True)
async def test_a_throttled_address_still_calls_with_a_key_that_is_known(world, upstream_answering):
    async with upstream_answering(raw(message())):
        await post(world.key)
        for number in range(MOST_FAILURES):
            await post(f"tn_wrong{number}")
        refused, served = await post("tn_wrong"), await post(world.key)

    assert (refused.status, refused.error["code"]) == (429, "rate_limited")
    assert served.status == 200
