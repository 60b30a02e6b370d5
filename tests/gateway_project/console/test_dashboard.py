from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.ledger.histogram import histogram
from billing.models import DailyVerdict
from gateway_project.ground.presence import Presence
from tests.factories import DailyUsageFactory, DriftReportFactory, TenantFactory, WebhookEndpointFactory

pytestmark = pytest.mark.django_db


def tile(page, title: str):
    tiles = (*page.context["usage_tiles"], *page.context["attention_tiles"])
    return next(tile for tile in tiles if tile.title.startswith(title))


def today():
    return datetime.now(UTC).date()


def test_an_empty_installation_has_a_dashboard(staff):
    page = staff.get(reverse("admin:index"))

    assert tile(page, "Spend today").value == "$0.00"
    assert "No usage yet" in page.content.decode()


def test_spend_and_requests_are_summed_over_tenants(staff):
    for cost in (Decimal("1.25"), Decimal("2.50")):
        DailyUsageFactory(cost_usd=cost, requests=7)
    DailyUsageFactory(day=today() - timedelta(days=1), cost_usd=Decimal(100))

    page = staff.get(reverse("admin:index"))

    assert tile(page, "Spend today").value == "$3.75"
    assert tile(page, "Spend today").note == "$100.00 yesterday"
    assert tile(page, "Requests today").value == "14"


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


def test_tenants_are_ranked_by_this_months_spend(staff):
    for name, cost in (("Small", 1), ("Large", 9)):
        DailyUsageFactory(tenant__name=name, cost_usd=Decimal(cost), period_start=today().replace(day=1))

    page = staff.get(reverse("admin:index"))

    assert [row.name for row in page.context["top_tenants"]] == ["Large", "Small"]


def test_tenants_near_their_budget_are_named(staff):
    near = TenantFactory(name="Nearly There", monthly_budget_usd=Decimal(100))
    DailyUsageFactory(tenant=near, cost_usd=Decimal(85), period_start=today().replace(day=1))
    fine = TenantFactory(name="Far Away", monthly_budget_usd=Decimal(100))
    DailyUsageFactory(tenant=fine, cost_usd=Decimal(79), period_start=today().replace(day=1))

    page = staff.get(reverse("admin:index"))

    assert [tenant.name for tenant in page.context["closest"]] == ["Nearly There", "Far Away"]
    assert tile(page, "Tenants near").value == "1"


def test_trouble_is_on_the_first_page(staff):
    WebhookEndpointFactory(enabled=False)
    DriftReportFactory(ok=False)
    TenantFactory._meta.model.objects.update(created_at=datetime.now(UTC) - timedelta(days=70))

    page = staff.get(reverse("admin:index"))

    assert tile(page, "Failing webhooks").level == "high"
    assert tile(page, "Overdue periods").level == "high"
    assert tile(page, "Ledger mismatches").level == "high"


def test_the_dashboard_never_reads_the_ledger(staff):
    DailyUsageFactory()

    with CaptureQueriesContext(connection) as captured:
        staff.get(reverse("admin:index"))

    assert not [query for query in captured if "usagerecord" in query["sql"]]
    assert len(captured) < 15


def test_the_processes_that_are_not_heard_of_are_named(staff, redis_server):
    for kind in ("web", "ledger", "worker"):
        Presence(kind).beat()

    processes = tile(staff.get(reverse("admin:index")), "Processes")

    assert (processes.value, processes.level) == ("3 of 4", "high")
    assert processes.note == "no beat is running"
