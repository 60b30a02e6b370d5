"""Settling: the hold is replaced by the cost, once."""

import pytest

from tests.billing.meter.test_admission import DOLLAR, a_principal, admit, an_offer, costing, settled
from tests.billing.meter.test_admission import ready as ready  # a fixture
from tests.meters import meter

pytestmark = pytest.mark.django_db(transaction=True)


async def test_settling_replaces_the_hold_by_the_cost(ready):
    principal = a_principal(monthly_budget_nano=DOLLAR)
    admission = await admit(principal, an_offer(hold=DOLLAR // 2))

    result = await meter().settle(admission.lease, costing(3_750_000))

    assert (result.spent_nano, result.held_nano) == (3_750_000, 0)
    assert ready.xlen("{s3}:usage") == 1
    assert ready.smembers("{s3}:busy") == set()


async def test_settling_twice_counts_once(ready):
    admission = await admit(a_principal())
    await meter().settle(admission.lease, costing(5))

    again = await meter().settle(admission.lease, costing(5))

    assert not again.first
    assert ready.xlen("{s3}:usage") == 1


async def test_crossed_thresholds_travel_with_the_event_in_order(ready):
    await settled(a_principal(monthly_budget_nano=100), 95)

    [(_, fields)] = ready.xrange("{s3}:usage")
    assert fields[b"crossed"] == b"80,90"
