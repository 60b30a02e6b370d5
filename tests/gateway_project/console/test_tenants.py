from decimal import Decimal

import pytest
from auditlog.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from gateway_project.ground.redis_keys import tenant_key
from tenants.spend import forecast
from tests.factories import (
    DailyUsageFactory,
    ModelFactory,
    TenantFactory,
    TierFactory,
    UsageRecordFactory,
)
from tests.gateway_project.console.tenant_form import form_of, save

pytestmark = pytest.mark.django_db

LIST = "admin:tenants_tenant_changelist"


def test_the_list_shows_spend_against_the_own_or_the_tiers_budget(staff):
    tier = TierFactory(monthly_budget_usd=Decimal(200))
    tenant = TenantFactory(tier=tier)
    DailyUsageFactory(tenant=tenant, cost_usd=Decimal(50), period_start=timezone.now().date().replace(day=1))

    page = staff.get(reverse(LIST)).content.decode()

    assert "$50.00 / $200.00" in page
    assert "25%" in page


def test_tenants_near_their_budget_are_filtered(staff):
    near, _ = TenantFactory(monthly_budget_usd=10), TenantFactory(monthly_budget_usd=10)
    DailyUsageFactory(tenant=near, cost_usd=Decimal(8), period_start=timezone.now().date().replace(day=1))

    page = staff.get(reverse(LIST), {"budget": "80"})

    assert [tenant.pk for tenant in page.context["cl"].result_list] == [near.pk]


def test_deleted_tenants_are_out_of_sight_until_asked_for(staff):
    TenantFactory(deleted_at=timezone.now())

    assert not staff.get(reverse(LIST)).context["cl"].result_list
    assert len(staff.get(reverse(LIST), {"deleted": "yes"}).context["cl"].result_list) == 1


def test_models_are_added_and_removed_in_one_picker(staff):
    old, new = ModelFactory(), ModelFactory()
    tenant = TenantFactory(models=[old])

    save(staff, tenant, models=[new.pk])

    assert list(tenant.allowed_models.all()) == [new]


def test_a_default_model_has_to_be_allowed(staff):
    tenant, model = TenantFactory(), ModelFactory()

    page = staff.post(
        reverse("admin:tenants_tenant_change", args=[tenant.pk]), form_of(tenant, default_model=model.pk)
    )

    assert "must be one of the allowed models" in page.content.decode()


@pytest.mark.parametrize("own", [70, None])
def test_a_downgrade_has_to_end_at_or_below_where_it_begins(staff, own):
    tenant = TenantFactory(tier=TierFactory(downgrade_percent=70))
    address = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    threshold = {"downgrade_percent": own} if own else {}

    page = staff.post(address, form_of(tenant, downgrade_release_percent=71, **threshold))
    assert "Downgrades start at 70%" in page.content.decode()

    save(staff, tenant, downgrade_release_percent=70, **threshold)
    assert tenant.downgrade_release_percent == 70


def test_a_tiers_downgrade_has_to_end_at_or_below_where_it_begins(staff):
    tier = TierFactory(downgrade_percent=90)
    fields = {
        "name": tier.name,
        "downgrade_percent": 60,
        "downgrade_release_percent": 61,
        "margin_percent": 0,
    }
    for inline in ("routes", "downgrades"):
        fields |= {f"{inline}-TOTAL_FORMS": 0, f"{inline}-INITIAL_FORMS": 0}

    page = staff.post(reverse("admin:tenants_tier_change", args=[tier.pk]), fields)

    assert "Downgrades start at 60%" in page.content.decode()


def test_an_empty_limit_shows_what_the_tier_gives(staff):
    tenant = TenantFactory(tier=TierFactory(name="gold", max_requests_per_minute=777))

    page = staff.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).content.decode()

    assert 'placeholder="777"' in page
    assert "From tier gold" in page


def test_an_override_shows_what_the_tier_would_give(staff):
    tenant = TenantFactory(tier=TierFactory(name="gold", max_concurrency=5), max_concurrency=9)

    page = staff.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).content.decode()

    assert "Overrides tier gold: 5" in page


def test_a_slug_stays(staff):
    tenant = TenantFactory(slug="acme")

    save(staff, tenant, slug="other")

    assert tenant.slug == "acme"


def test_the_list_shows_what_each_does_now_and_where_its_period_ends(staff, redis_server):
    tenant = TenantFactory(monthly_budget_usd=Decimal(100))
    DailyUsageFactory(tenant=tenant, cost_usd=Decimal(50), period_start=timezone.now().date().replace(day=1))
    now = int(timezone.now().timestamp() * 1_000_000)
    redis_server.zadd(f"{tenant_key(tenant.pk)}:rpm", {"a": now, "b": now - 1, "old": now - 61_000_000})

    page = staff.get(reverse(LIST)).content.decode()

    assert "2/min" in page
    expected = forecast(tenant, spent=Decimal(50), period=timezone.now().date().replace(day=1))
    assert expected is None or "forecast $" in page


def test_the_audit_trail_says_who_changed_what_from_what_to_what(staff):
    tenant = TenantFactory(name="Before")

    save(staff, tenant, name="After")

    entry = LogEntry.objects.get_for_object(tenant).first()
    assert entry.changes["name"] == ["Before", "After"]
    assert entry.actor.is_staff


def test_the_audit_trail_is_exported_with_formulas_defused(staff):
    TenantFactory(name="=HYPERLINK(1)")

    page = staff.get(reverse("admin:auditlog_logentry_export"))
    text = b"".join(page.streaming_content).decode()

    assert text.startswith("time,who,from,action,kind,what,field,old,new,reason")
    assert "'=HYPERLINK(1)" in text


def test_a_tenants_page_shows_its_month_and_its_latest_calls(staff):
    tenant = TenantFactory()
    DailyUsageFactory(tenant=tenant, model="gpt-4o", cost_usd=Decimal("12.50"))
    call = UsageRecordFactory(tenant=tenant)

    page = staff.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).content.decode()

    assert "highest $12.50" in page
    assert reverse("admin:billing_usagerecord_change", args=[call.pk]) in page


def test_the_row_is_locked_before_it_is_read_to_be_saved(staff):
    tenant = TenantFactory()

    with CaptureQueriesContext(connection) as queries:
        save(staff, tenant, name="New")

    asked = [query["sql"] for query in queries if 'FROM "tenants_tenant"' in query["sql"]]
    locked = next(n for n, sql in enumerate(asked) if "FOR NO KEY UPDATE" in sql)
    assert f'"tenants_tenant"."id" = {tenant.pk}' in asked[locked + 1]
    assert tenant.name == "New"
