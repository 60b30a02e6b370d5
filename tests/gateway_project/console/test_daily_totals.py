from datetime import timedelta
from decimal import Decimal

import pytest

from billing.ledger.histogram import histogram
from gateway_project.console.daily_totals import Totals, daily_totals
from tests.factories import DailyUsageFactory
from tests.gateway_project.console.dashboard_page import today

pytestmark = pytest.mark.django_db


def test_each_day_has_a_row_also_without_usage():
    DailyUsageFactory(cost_usd=Decimal(3), requests=2)
    yesterday = today() - timedelta(days=1)

    before, now = daily_totals(since=yesterday, until=today())

    assert before == Totals(day=yesterday)
    assert (now.day, now.cost_usd, now.requests) == (today(), Decimal(3), 2)


def test_a_days_tenants_are_summed_and_so_are_their_histograms():
    for _ in range(2):
        DailyUsageFactory(cost_usd=Decimal(1), requests=5, latency_buckets=histogram([500, 4000]))
    DailyUsageFactory(cost_usd=Decimal(1), requests=1, status="upstream_error")

    [day] = daily_totals(since=today(), until=today())

    assert (day.cost_usd, day.requests, day.faults) == (Decimal(3), 11, 1)
    assert day.latency == histogram([500, 500, 4000, 4000])


def test_histograms_older_than_a_week_are_not_summed():
    week_ago = today() - timedelta(days=7)
    DailyUsageFactory(day=week_ago, latency_buckets=histogram([500]))

    assert daily_totals(since=week_ago, until=today())[0].latency is None
