from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F, Sum

from billing.events import UsageEvent
from billing.ledger.histogram import histogram
from billing.ledger.roll_up import add_to_roll_up
from billing.models import DailyTotal, DailyUsage, PeriodUsage
from billing.request_ids import new_request_id
from tests.factories import DailyUsageFactory, TenantFactory

pytestmark = pytest.mark.django_db

MAY = date(2026, 5, 1)


def test_a_period_is_the_sum_of_its_days():
    tenant = TenantFactory()
    for day in (1, 2, 31):
        DailyUsageFactory(tenant=tenant, day=date(2026, 5, day), requests=2, cost_usd=Decimal("0.5"))
    DailyUsageFactory(tenant=tenant, day=date(2026, 6, 1), cost_usd=Decimal(9))

    period = PeriodUsage.objects.get(tenant=tenant, period_start=MAY)

    assert (period.requests, period.cost_usd) == (6, Decimal("1.5"))


def test_an_upsert_adds_what_it_adds():
    row = DailyUsageFactory(cost_usd=Decimal(1), requests=1)
    again = DailyUsageFactory.build(
        tenant=row.tenant, day=row.day, model=row.model, cost_usd=Decimal(5), requests=7
    )

    DailyUsage.objects.bulk_create(
        [again],
        update_conflicts=True,
        unique_fields=["tenant", "period_start", "day", "api_key", "model", "status"],
        update_fields=["cost_usd", "requests"],
    )

    period = PeriodUsage.objects.get(tenant_id=row.tenant_id)
    assert period.requests == 7
    assert period.cost_usd == 5


def test_an_update_and_a_delete_are_followed_too():
    row, other = DailyUsageFactory(cost_usd=Decimal(1)), DailyUsageFactory(cost_usd=Decimal(2))

    DailyUsage.objects.update(cost_usd=F("cost_usd") * 10)
    other.delete()

    assert PeriodUsage.objects.get(tenant_id=row.tenant_id).cost_usd == 10
    assert PeriodUsage.objects.get(tenant_id=other.tenant_id).cost_usd == 0


def test_a_day_is_the_sum_of_all_tenants():
    for _ in range(20):
        DailyUsageFactory(day=MAY, requests=3, cost_usd=Decimal("0.25"))

    total = DailyTotal.objects.filter(day=MAY).aggregate(calls=Sum("requests"), cost=Sum("cost_usd"))

    assert total == {"calls": 60, "cost": 5}


def test_histograms_are_added_and_taken_back():
    tenant = TenantFactory()
    kept = DailyUsageFactory(tenant=tenant, day=MAY, latency_buckets=histogram([30, 30]))
    gone = DailyUsageFactory(tenant=tenant, day=MAY, model=kept.model, status="cancelled")
    DailyUsage.objects.filter(pk=gone.pk).update(status=kept.status, api_key=None, model="other")
    DailyUsage.objects.filter(pk=kept.pk).update(latency_buckets=histogram([30, 30, 9_000]))

    total = DailyTotal.objects.get(day=MAY, model=kept.model, status=kept.status)

    assert total.latency_buckets == histogram([30, 30, 9_000])


def test_a_batch_of_several_tenants_is_summed_in_one_statement(django_assert_num_queries):
    tenants = [TenantFactory() for _ in range(3)]
    rows = [
        DailyUsage(tenant=tenant, day=MAY, period_start=MAY, model=model, status="ok", requests=1, cost_usd=1)
        for tenant in tenants
        for model in ("a", "b")
    ]

    with django_assert_num_queries(1):
        DailyUsage.objects.bulk_create(rows)

    assert [period.cost_usd for period in PeriodUsage.objects.all()] == [2, 2, 2]


def test_a_drained_batch_adds_to_the_histograms():
    def call(**measured: Any):
        tenant_id, day = 7, MAY.isoformat()
        return UsageEvent(new_request_id(), tenant_id, None, day, day, "anthropic", "gpt-4o", **measured)

    add_to_roll_up([call(latency_ms=700, ttft_ms=90)])
    add_to_roll_up([call(latency_ms=700, ttft_ms=90), call(latency_ms=9_000)])

    row = DailyUsage.objects.get()
    assert row.latency_buckets == histogram([700, 700, 9_000])
    assert row.ttft_buckets == histogram([90, 90])
    assert row.requests == 3
