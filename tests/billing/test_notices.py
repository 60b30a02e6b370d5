"""Forecasts, unusual spend and daily tokens: told once each."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from billing.models import BudgetAlert, WebhookDelivery
from billing.notices import notice_usage
from tests.factories import DailyUsageFactory, TenantFactory, WebhookEndpointFactory

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


def test_three_times_the_dearest_day_is_unusual(tenant):
    for number in range(1, 5):
        spent(tenant, 1, TODAY - timedelta(days=number))
    spent(tenant, "3.5")

    assert notice_usage(NOW) == 1
    assert BudgetAlert.objects.get().kind == "anomaly"
    assert notice_usage(NOW + timedelta(hours=1)) == 0


def test_a_tenant_without_a_history_has_no_usual(tenant):
    spent(tenant, 20)
    assert notice_usage(NOW) == 0


def test_tokens_of_the_day_reached_are_told(tenant):
    tenant.max_tokens_per_day = 1000
    tenant.save()
    spent(tenant, "0.1", input_tokens=600, output_tokens=400)
    assert notice_usage(NOW) == 1
    assert told()[0]["type"] == "tokens_day.reached"
