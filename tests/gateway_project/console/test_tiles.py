from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.urls import reverse

from billing.ledger.histogram import histogram
from billing.models import DailyVerdict
from gateway_project.ground.presence import Presence
from tests.factories import DailyUsageFactory, DriftReportFactory, TenantFactory, WebhookEndpointFactory
from tests.gateway_project.console.dashboard_page import tile, today

pytestmark = pytest.mark.django_db


def test_the_month_stands_against_all_budgets_together(staff):
    for budget, spent in ((30, 12), (70, 13)):
        tenant = TenantFactory(monthly_budget_usd=Decimal(budget))
        DailyUsageFactory(tenant=tenant, cost_usd=Decimal(spent), period_start=today().replace(day=1))
    TenantFactory(monthly_budget_usd=Decimal(500), status="suspended")

    month = tile(staff.get(reverse("admin:index")), "This month")

    assert month.value == "$25.00"
    assert month.note.startswith("of $100.00, on pace for $")
    assert "25% of the budget" in month.bar


def test_the_error_rate_counts_upstream_errors(staff):
    tenant = TenantFactory()
    DailyUsageFactory(tenant=tenant, requests=97)
    DailyUsageFactory(tenant=tenant, requests=3, status="upstream_error")

    errors = tile(staff.get(reverse("admin:index")), "Errors")

    assert (errors.value, errors.level) == ("3.00%", "near")


def test_the_refusal_rate_is_of_all_that_was_asked_and_names_the_commonest_reason(staff):
    tenant = TenantFactory()
    DailyUsageFactory(tenant=tenant, requests=90)
    for code, requests, shadow in (
        ("rate_limited", 7, False),
        ("budget_exceeded", 3, False),
        ("x", 99, True),
    ):
        DailyVerdict.objects.create(tenant=tenant, day=today(), code=code, requests=requests, shadow=shadow)

    refused = tile(staff.get(reverse("admin:index")), "Refused")

    assert (refused.value, refused.note) == ("10.00%", "10, mostly “Rate limit reached”")


def test_percentiles_come_from_the_histograms(staff):
    DailyUsageFactory(latency_buckets=histogram([500] * 94 + [4000] * 6))

    latency = tile(staff.get(reverse("admin:index")), "Latency")

    p50, p95 = latency.value.split(", ")
    assert 400 <= int(p50.removesuffix(" ms")) <= 550
    assert p95.endswith(" s")


def test_trouble_is_on_the_first_page(staff):
    WebhookEndpointFactory(enabled=False)
    DriftReportFactory(ok=False)
    TenantFactory._meta.model.objects.update(created_at=datetime.now(UTC) - timedelta(days=70))

    page = staff.get(reverse("admin:index"))

    assert tile(page, "Failing webhooks").level == "high"
    assert tile(page, "Overdue periods").level == "high"
    assert tile(page, "Ledger mismatches").level == "high"


def test_the_processes_that_are_not_heard_of_are_named(staff, redis_server):
    for kind in ("web", "ledger", "worker"):
        Presence(kind).beat()

    processes = tile(staff.get(reverse("admin:index")), "Processes")

    assert (processes.value, processes.level) == ("3 of 4", "high")
    assert processes.note == "no beat is running"
