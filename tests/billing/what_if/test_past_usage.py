"""Recorded usage, played under other terms."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.models import ModelPrice, UsageRecord
from billing.what_if.past_usage import BadTerms
from tests.billing.what_if.test_simulation import DAY, a_call, played, usd
from tests.billing.what_if.test_simulation import _meter as _meter  # a fixture
from tests.billing.what_if.test_simulation import opus as opus  # a fixture
from tests.billing.what_if.test_simulation import sonnet as sonnet  # a fixture
from tests.billing.what_if.test_simulation import tenant as tenant  # a fixture
from tests.factories import (
    DailyUsageFactory,
    ModelPriceFactory,
    TierFactory,
)

pytestmark = pytest.mark.django_db


def test_what_the_period_had_cost_before_counts(tenant):
    DailyUsageFactory(
        tenant=tenant, day=DAY.date() - timedelta(days=5), period_start=DAY.date().replace(day=1), cost_usd=1
    )
    a_call(tenant)

    found = played(tenant, tier=TierFactory(monthly_budget_usd=Decimal(1)))

    assert found.refused == {"budget_exceeded": 1}


def test_other_prices_are_those_of_the_models_named(tenant):
    a_call(tenant)
    a_call(tenant, model="opus", cost_usd=Decimal("0.01875"))

    found = played(tenant, prices={"sonnet": {"input_usd": "6", "output_usd": "15"}})

    assert usd(found.difference_nano) == Decimal("0.003")


def test_a_price_that_cannot_be_read_is_said(tenant):
    with pytest.raises(BadTerms, match="sonnet"):
        played(tenant, prices={"sonnet": {"input_usd": "much"}})


def test_the_price_list_of_another_day(tenant, sonnet):
    ModelPriceFactory(model=sonnet, effective_from=DAY + timedelta(days=30), input_usd=6)
    a_call(tenant)

    found = played(tenant, priced_at=DAY + timedelta(days=31))

    assert usd(found.difference_nano) == Decimal("0.003")
    assert ModelPrice.objects.count() == 3


def test_of_many_calls_the_latest_are_played_and_it_is_said(tenant):
    for second in range(5):
        a_call(tenant, second)

    found = played(tenant, most_rows=2)

    assert (found.calls, found.left_out) == (2, 3)
    assert found.played_from == UsageRecord.objects.order_by("-created_at")[1].created_at
