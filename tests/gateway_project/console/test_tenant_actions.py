"""What is done to tenants with a question first: suspending, budgets, models in use."""

from decimal import Decimal

import pytest
from auditlog.models import LogEntry
from django.contrib.messages import get_messages
from django.urls import reverse
from django.utils import timezone

from tenants.models import Tenant
from tests.factories import (
    DailyUsageFactory,
    ModelFactory,
    TenantFactory,
    TierFactory,
)
from tests.gateway_project.console.tenant_form import form_of, save

pytestmark = pytest.mark.django_db

LIST = "admin:tenants_tenant_changelist"


def act(client, action: str, *tenants: Tenant, **given):
    """Choose an action of the list for these tenants, or answer what it asks."""
    chosen = [tenant.pk for tenant in tenants]
    response = client.post(reverse(LIST), {"action": action, "_selected_action": chosen, **given})
    for tenant in tenants:
        tenant.refresh_from_db()
    return response


def test_suspending_asks_first_and_keeps_the_reason(staff):
    tenant = TenantFactory()

    page = act(staff, "suspend", tenant).content.decode()
    assert "will be refused immediately" in page
    assert tenant.status == "active"

    act(staff, "suspend", tenant, sure="1", reason="Has not paid")
    assert tenant.status == "suspended"
    assert LogEntry.objects.get_for_object(tenant).first().additional_data == {"reason": "Has not paid"}


def test_resuming_is_one_action(staff):
    tenant = TenantFactory(status="suspended")

    act(staff, "resume", tenant)

    assert tenant.status == "active"


def test_suspending_on_the_tenants_page_is_asked_about(staff):
    tenant = TenantFactory()
    address = reverse("admin:tenants_tenant_change", args=[tenant.pk])

    page = staff.post(address, form_of(tenant, status="suspended"))
    assert "all requests are refused immediately" in page.content.decode()

    save(staff, tenant, status="suspended", confirmed="on")
    assert tenant.status == "suspended"


def test_budgets_are_raised_together_for_a_reason(staff):
    own = TenantFactory(monthly_budget_usd=Decimal(100))
    inherits = TenantFactory(tier=TierFactory(monthly_budget_usd=Decimal(30)))
    unlimited = TenantFactory(tier=TierFactory(monthly_budget_usd=None))

    act(staff, "raise_budget", own, sure="1", by_usd="50")  # no reason
    assert own.monthly_budget_usd == 100

    page = act(staff, "raise_budget", own, inherits, unlimited, sure="1", by_usd="50", reason="Black Friday")
    assert (own.monthly_budget_usd, inherits.monthly_budget_usd) == (150, 80)
    assert unlimited.monthly_budget_usd is None
    assert "1 unchanged" in str(next(iter(get_messages(page.wsgi_request))))
    assert LogEntry.objects.get_for_object(own).first().additional_data == {"reason": "Black Friday"}


def test_a_budget_is_raised_no_further_than_the_meter_counts(staff):
    tenant = TenantFactory(monthly_budget_usd=Decimal(100))

    page = act(staff, "raise_budget", tenant, sure="1", by_usd="9000000", reason="A slip")

    assert "less than or equal to 9000000" in page.content.decode()
    assert tenant.monthly_budget_usd == 100


def test_exporting_a_tenants_usage_opens_the_form_with_its_name(staff):
    assert act(staff, "export_usage", TenantFactory(slug="acme")).url.endswith("/add/?tenant=acme")


def test_raising_a_budget_needs_a_reason_which_the_trail_keeps(staff):
    tenant = TenantFactory(monthly_budget_usd=Decimal(100))
    address = reverse("admin:tenants_tenant_change", args=[tenant.pk])

    page = staff.post(address, form_of(tenant, monthly_budget_usd="200"))
    assert "Give a reason for raising the budget to $200.00." in page.content.decode()

    save(staff, tenant, monthly_budget_usd="200", reason="Signed the larger contract")
    assert tenant.monthly_budget_usd == 200
    [entry] = LogEntry.objects.get_for_object(tenant).filter(changes__has_key="monthly_budget_usd")[:1]
    assert entry.additional_data == {"reason": "Signed the larger contract"}
    trail = staff.get(reverse("admin:auditlog_logentry_changelist"))
    assert "Signed the larger contract" in trail.content.decode()


def test_a_budget_below_what_is_spent_is_asked_about(staff):
    tenant = TenantFactory(monthly_budget_usd=Decimal(100))
    DailyUsageFactory(tenant=tenant, cost_usd=Decimal(60), period_start=timezone.now().date().replace(day=1))
    address = reverse("admin:tenants_tenant_change", args=[tenant.pk])

    page = staff.post(address, form_of(tenant, monthly_budget_usd="50"))
    assert "every request would be refused" in page.content.decode()

    save(staff, tenant, monthly_budget_usd="50", confirmed="on")
    assert tenant.monthly_budget_usd == 50


def test_removing_a_model_in_use_is_asked_about(staff):
    used, idle = ModelFactory(), ModelFactory()
    tenant = TenantFactory(models=[used, idle])
    DailyUsageFactory(tenant=tenant, model=used.name, requests=1234)
    address = reverse("admin:tenants_tenant_change", args=[tenant.pk])

    save(staff, tenant, models=[used.pk])  # nobody has called the other one

    page = staff.post(address, form_of(tenant, models=[]))
    assert f"{used.name} was called 1,234 times" in page.content.decode()
    assert tenant.allowed_models.count() == 1
