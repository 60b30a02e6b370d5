"""Forecasts, unusual spend and daily tokens: told once each."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from billing.alerts.notices import notice_limits, notice_usage
from billing.models import BudgetAlert, WebhookDelivery
from tests.factories import DailyUsageFactory, TenantFactory, UsageRecordFactory, WebhookEndpointFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)
TODAY = NOW.date()


@pytest.fixture
def tenant():
    tenant = TenantFactory(monthly_budget_usd=Decimal(100), timezone="UTC")
    WebhookEndpointFactory(tenant=tenant)
    return tenant


def spent(tenant, usd, day=TODAY, **values):
    values = {"input_tokens": 0, "output_tokens": 0, **values}
    DailyUsageFactory(
        tenant=tenant, day=day, period_start=day.replace(day=1), cost_usd=Decimal(usd), **values
    )


def told():
    return [each.payload for each in WebhookDelivery.objects.order_by("pk")]


def test_at_this_pace_the_budget_ends_on_a_day_that_is_named(tenant):
    for number in range(1, 10):
        spent(tenant, 5, TODAY - timedelta(days=number))

    assert (notice_usage(NOW), notice_usage(NOW)) == (1, 0)
    [event] = told()
    assert event["type"] == "budget.forecast"
    assert event["data"]["budget_ends_on"] == "2026-06-22"


def test_a_pace_that_suffices_is_not_worth_a_notice(tenant):
    for number in range(1, 10):
        spent(tenant, 3, TODAY - timedelta(days=number))
    assert notice_usage(NOW) == 0


def test_the_first_days_of_a_period_forecast_nothing(tenant):
    spent(tenant, 50, date(2026, 6, 1))
    assert notice_usage(datetime(2026, 6, 2, tzinfo=UTC)) == 0


def spent_hourly(tenant, *, days, usd, at=NOW):
    """One call of `usd` an hour for `days` days before yesterday's hour of `at`; in ledger and roll-up."""
    for number in range(1, days + 1):
        day = at - timedelta(days=number)
        for hour in range(3):
            UsageRecordFactory(
                tenant=tenant, api_key=None, at=day + timedelta(hours=hour), cost_usd=Decimal(usd)
            )
        spent(tenant, Decimal(usd) * 3, day.date())


def now_called(tenant, usd):
    UsageRecordFactory(tenant=tenant, api_key=None, at=NOW - timedelta(minutes=5), cost_usd=Decimal(usd))


def test_an_hour_three_times_as_dear_as_the_dearest_is_unusual(tenant):
    spent_hourly(tenant, days=4, usd=1)
    now_called(tenant, "3.1")

    assert notice_usage(NOW) == 1
    alert = BudgetAlert.objects.get()
    assert (alert.kind, alert.spent_usd) == ("anomaly", Decimal("3.1"))
    [event] = told()
    assert event["type"] == "usage.anomaly"
    assert Decimal(event["data"]["usual_most_usd"]) == 1
    assert notice_usage(NOW + timedelta(minutes=10)) == 0


def test_an_hour_as_dear_as_others_were_is_usual_whatever_the_day_comes_to(tenant):
    spent_hourly(tenant, days=4, usd=1)
    spent(tenant, 12)
    now_called(tenant, "2.9")
    assert notice_usage(NOW) == 0


def test_the_hour_before_the_last_does_not_count_as_the_last(tenant):
    spent_hourly(tenant, days=4, usd=1)
    UsageRecordFactory(tenant=tenant, api_key=None, at=NOW - timedelta(minutes=61), cost_usd=Decimal(9))
    assert notice_usage(NOW) == 0


def test_a_tenant_without_a_history_has_no_usual(tenant):
    spent_hourly(tenant, days=2, usd="0.1")
    now_called(tenant, 20)
    assert notice_usage(NOW) == 0


def test_tokens_of_the_day_reached_are_told_and_told_again_of_a_raised_limit(tenant):
    tenant.max_tokens_per_day = 1000
    tenant.save()
    spent(tenant, "0.1", input_tokens=600, output_tokens=400)

    assert (notice_limits(NOW), notice_limits(NOW)) == (1, 0)
    assert told()[0]["type"] == "tokens_day.reached"
    tenant.max_tokens_per_day = 1500
    tenant.save()
    assert notice_limits(NOW) == 0
    spent(tenant, "0.1", model="other", input_tokens=500)
    assert notice_limits(NOW) == 1
    assert told()[1]["data"] == {"tenant": tenant.slug, "tokens": 1500, "limit": 1500, "day": "2026-06-10"}


def test_the_day_is_the_tenants_own(tenant):
    tenant.max_tokens_per_day, tenant.timezone = 1000, "Pacific/Auckland"
    tenant.save()
    spent(tenant, "0.1", input_tokens=1000)  # it is the 11th there already
    assert notice_limits(NOW) == 0
