"""Bookings that several processes make at the same moment are made once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from billing.alerts.thresholds import catch_up
from billing.ledger.adjustments import book
from billing.models import Adjustment, BudgetAlert
from billing.prices.repricing import RepricingAsked, book_repricing
from tests.factories import (
    DailyUsageFactory,
    ModelFactory,
    ModelPriceFactory,
    TenantFactory,
    UsageRecordFactory,
    WebhookEndpointFactory,
)

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(work, *, times=4):
    """The answers of `work`, done by several threads that begin together, each with its own connection."""
    barrier = threading.Barrier(times)

    def one():
        try:
            barrier.wait()
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as pool:
        return [each.result() for each in [pool.submit(one) for _ in range(times)]]


def test_a_top_up_sent_several_times_at_once_is_booked_once(redis_server):
    tenant = TenantFactory(budget_mode="prepaid")

    rows = at_once(
        lambda: book(tenant=tenant, kind="topup", amount_usd=Decimal(20), reason="x", reference="INV-1").pk
    )

    assert len(set(rows)) == 1
    tenant.refresh_from_db()
    assert tenant.spendable_usd == 20


def test_a_price_correction_run_several_times_at_once_is_booked_once(redis_server):
    model = ModelFactory()
    price = ModelPriceFactory(model=model)
    at = datetime.now(UTC) - timedelta(days=1)
    UsageRecordFactory(at=at, model=model.name, input_tokens=1_000_000, output_tokens=0, cost_usd=Decimal(30))
    asked = RepricingAsked(model=model, since=at.date(), until=at.date(), price=price)

    booked = at_once(lambda: len(book_repricing(asked, reason="in cents")))

    assert sorted(booked) == [0, 0, 0, 1]
    assert Adjustment.objects.get().amount_usd == -27


def test_thresholds_caught_up_with_at_once_are_told_once(redis_server):
    tenant = TenantFactory(monthly_budget_usd=100)
    WebhookEndpointFactory(tenant=tenant)
    DailyUsageFactory(tenant=tenant, cost_usd=Decimal(95))

    told = at_once(catch_up)

    assert sum(told) == BudgetAlert.objects.count() == 2
