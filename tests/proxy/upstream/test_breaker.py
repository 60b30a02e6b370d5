"""Circuit breakers."""

import pytest

from proxy.upstream import breaker
from tests.proxy.gateway import post, runtime
from tests.proxy.pipeline.test_attempts import BUSY
from tests.proxy.pipeline.test_attempts import quick as quick  # a fixture
from tests.proxy.scripted_upstream import SONNET, message, raw

pytestmark = pytest.mark.django_db(transaction=True)


async def test_an_upstream_that_keeps_failing_is_left_alone_and_tried_again_later(world, upstream_answering):
    async with upstream_answering(raw(BUSY, status=500)) as upstream:
        for _ in range(breaker.FAILURES):
            assert (await post(world.key)).status == 500
        refused = await post(world.key)
        asked = len(upstream.asked)
        circuit = runtime().breakers.of("ezai", SONNET)
        circuit.opens_at = 0
        upstream.talk = raw(message())
        probed = await post(world.key)

    assert refused.status == 502
    assert refused.error["code"] == "upstream_unavailable"
    assert int(refused.headers["retry-after"]) >= 1
    assert asked == breaker.FAILURES
    assert probed.status == 200
    assert circuit.state == "closed"


def test_an_open_breaker_lets_one_call_through_at_a_time_and_stays_open_longer_each_time():
    changes = []
    circuit = breaker.Breaker("x", lambda changed: changes.append(changed.state))
    for _ in range(breaker.FAILURES):
        assert circuit.lets_through(0)
        circuit.failed(0)
    assert circuit.state == "open"
    assert not circuit.lets_through(1)
    assert circuit.lets_through(2.1)
    assert not circuit.lets_through(2.1)
    circuit.failed(2.1)
    assert circuit.seconds_left(2.1) == pytest.approx(4)
    assert circuit.lets_through(6.2)
    circuit.succeeded()
    assert circuit.state == "closed"
    assert changes == ["open", "open", "closed"]
