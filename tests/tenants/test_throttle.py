"""Guessing keys is stopped by address."""

import pytest

from tenants.throttle import MOST_FAILURES, WITHIN_SECONDS, FailureWindow, TooManyFailures
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


def test_a_window_that_has_passed_is_forgotten():
    window = FailureWindow()
    for _ in range(MOST_FAILURES):
        window.failed("1.2.3.4", now=0.0)
    with pytest.raises(TooManyFailures) as refused:
        window.check("1.2.3.4", now=4.0)

    window.check("1.2.3.4", now=WITHIN_SECONDS)

    assert refused.value.headers == {"retry-after": "6"}


def test_addresses_are_bounded_and_the_oldest_goes_first(monkeypatch):
    monkeypatch.setattr("tenants.throttle.MOST_ADDRESSES", 2)
    window = FailureWindow()
    for _ in range(MOST_FAILURES):
        window.failed("first", now=0.0)
    window.failed("second", now=0.0)
    window.failed("third", now=0.0)

    window.check("first", now=1.0)
