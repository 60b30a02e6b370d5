"""What tenants have spent: the live counter, or the roll-up where that is cold."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from billing.meter.current_spend import counter_of, current_spend
from gateway_project.ground.redis_keys import PREPAID_COUNTER, named_key
from tests.factories import DailyUsageFactory, TenantFactory

pytestmark = pytest.mark.django_db


def test_the_live_counter_goes_before_the_roll_up(redis_server):
    warm, cold = TenantFactory(), TenantFactory()
    for tenant in (warm, cold):
        period = date.fromisoformat(counter_of(tenant)[1])
        DailyUsageFactory(tenant=tenant, day=period, period_start=period, cost_usd=Decimal(2))
    redis_server.hset(named_key(warm.pk, counter_of(warm)[0]), "spent", 3_000_000_000)

    assert current_spend([warm, cold]) == {warm.pk: Decimal(3), cold.pk: Decimal(2)}


def test_other_periods_count_for_a_prepaid_balance_alone(redis_server):
    monthly, prepaid = TenantFactory(), TenantFactory(budget_mode="prepaid")
    for tenant in (monthly, prepaid):
        old = date(2020, 1, 1)
        DailyUsageFactory(tenant=tenant, day=old, period_start=old, cost_usd=Decimal(2))

    assert current_spend([monthly, prepaid]) == {monthly.pk: 0, prepaid.pk: Decimal(2)}


def test_a_counter_is_named_by_the_period_of_the_moment():
    tenant = TenantFactory(timezone="UTC", billing_day=15)
    moment = datetime(2026, 6, 10, tzinfo=UTC).timestamp()

    assert counter_of(tenant, at=moment)[1] == "2026-05-15"
    tenant.budget_mode = "prepaid"
    assert counter_of(tenant, at=moment) == (PREPAID_COUNTER, "2026-05-15")
