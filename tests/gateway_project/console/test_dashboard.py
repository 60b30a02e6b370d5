from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.factories import DailyUsageFactory, TenantFactory
from tests.gateway_project.console.dashboard_page import tile, today

pytestmark = pytest.mark.django_db


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


def test_the_dashboard_never_reads_the_ledger(staff):
    DailyUsageFactory()

    with CaptureQueriesContext(connection) as captured:
        staff.get(reverse("admin:index"))

    assert not [query for query in captured if "usagerecord" in query["sql"]]
    assert len(captured) < 15
