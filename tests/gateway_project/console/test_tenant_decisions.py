"""The console's boxes of decisions: what would happen, a tier simulated, refusals, savings, rules, routes."""

from datetime import timedelta
from decimal import Decimal

import pytest
from auditlog.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from gateway_project.console import tenant_decisions
from gateway_project.ground.redis_keys import every_tag
from tenants.models import TierRoute
from tests.factories import (
    ComplexityRuleFactory,
    DailyUsageFactory,
    DailyVerdictFactory,
    ModelFactory,
    ModelPriceFactory,
    TenantFactory,
    TierFactory,
    TierRouteFactory,
    UsageRecordFactory,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def sonnet():
    return ModelPriceFactory(model=ModelFactory(name="sonnet")).model


@pytest.fixture
def tenant(redis_server, sonnet):
    for tag in every_tag():
        redis_server.hset(f"{tag}:shard", mapping={"epoch": "e", "opens_ms": 0})
    opus = ModelFactory(name="opus", downgrade_to=sonnet)
    ModelPriceFactory(model=opus, input_usd=15, output_usd=75)
    tier = TierFactory(name="pro", monthly_budget_usd=Decimal(100))
    TierRouteFactory(tier=tier, complexity="simple", model=sonnet)
    TierRouteFactory(tier=tier, complexity="complex", model=opus)
    return TenantFactory(tier=tier, models=[sonnet, opus])


def page_of(client, name, *args, **query):
    response = client.get(reverse(name, args=args), query)
    assert response.status_code == 200
    return response.content.decode()


def test_the_tenants_page_says_why_it_was_refused_and_what_downgrades_saved(staff, tenant):
    DailyVerdictFactory(tenant=tenant, code="concurrency_limited", requests=1234)
    DailyVerdictFactory(tenant=tenant, code="rerouted", detail="opus", shadow=True)
    DailyVerdictFactory(code="key_expired")
    DailyUsageFactory(tenant=tenant, downgraded_requests=2, downgraded_cost_usd=1, saved_usd=4)

    assert reverse("tenant-decisions", args=[tenant.pk]) in page_of(
        staff, "admin:tenants_tenant_change", tenant.pk
    )
    page = page_of(staff, "tenant-decisions", tenant.pk)

    assert "concurrency_limited</small></th><td>1,234" in page
    assert "rerouted opus" in page
    assert "key_expired" not in page
    assert "<b>$4.00</b>" in page
    assert reverse("tenant-decision", args=[tenant.pk]) in page


def test_a_tier_is_simulated_on_the_last_thirty_days(staff, tenant):
    for minutes in range(3):
        UsageRecordFactory(
            tenant=tenant, model="sonnet", at=timezone.now() - timedelta(hours=1, minutes=minutes)
        )
    DailyVerdictFactory(tenant=tenant, requests=77)
    TierFactory(name="small", max_tokens_per_day=2000, margin_percent=100)

    page = page_of(staff, "tenant-simulation", tenant.pk, tier="small")

    assert "daily_tokens_exceeded</th><td>1" in page
    assert "+$0.00375" in page
    assert "77 requests were refused in these days" in page
    assert "Only the latest calls" not in page


def test_of_many_calls_the_latest_are_simulated_and_it_is_said(staff, tenant, monkeypatch):
    monkeypatch.setattr(tenant_decisions, "MOST_CALLS", 2)
    for minutes in range(5):
        UsageRecordFactory(
            tenant=tenant, model="sonnet", at=timezone.now() - timedelta(hours=1, minutes=minutes)
        )

    assert "3 earlier calls were left out" in page_of(staff, "tenant-simulation", tenant.pk, tier="pro")


@pytest.mark.parametrize("name", ["tenant-decisions", "tenant-decision", "tenant-simulation"])
def test_who_may_not_see_tenants_sees_none_of_it(client, tenant, name):
    assert client.get(reverse(name, args=[tenant.pk])).status_code == 302


def test_rules_are_tried_with_and_without_those_in_shadow(staff):
    ComplexityRuleFactory(kind="threshold", subject="max_simple_bytes", value=4000)
    ComplexityRuleFactory(subject="prove", shadow=True)

    page = page_of(
        staff, "admin:routing_complexityrule_trial", text_bytes=10, messages=1, tools=0, system="Prove it"
    )

    assert "no threshold is exceeded" in page
    assert "the system prompt contains “prove”" in page


def test_routes_are_a_grid_of_tier_and_complexity(staff, tenant, sonnet):
    tier = tenant.tier
    address = reverse("admin:tenants_tier_routes")

    assert "pro, complex" in staff.get(address).content.decode()
    staff.post(address, {f"{tier.pk}-simple": "", f"{tier.pk}-complex": str(sonnet.pk)})

    assert list(TierRoute.objects.values_list("complexity", "model__name")) == [("complex", "sonnet")]
    assert LogEntry.objects.filter(content_type__model="tierroute", action=LogEntry.Action.UPDATE).exists()


def test_who_may_only_look_changes_no_route(as_role, tenant, sonnet):
    support = as_role("Support")
    address = reverse("admin:tenants_tier_routes")

    assert support.get(address).status_code == 200
    assert support.post(address, {}).status_code == 403
    assert TierRoute.objects.count() == 2
