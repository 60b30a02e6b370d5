"""A page that was left open is not saved over what others changed meanwhile."""

import re
from decimal import Decimal

import pytest
from django.urls import reverse

from billing.ledger.adjustments import book
from tenants.models import Tenant, TenantStatus, TierRoute
from tenants.status import set_status
from tests.factories import (
    ApiKeyFactory,
    ComplexityRuleFactory,
    ModelFactory,
    StaffFactory,
    TenantFactory,
    TierFactory,
    TierRouteFactory,
)
from tests.gateway_project.console.tenant_form import form_of

pytestmark = pytest.mark.django_db

TIER = {"name": "gold", "downgrade_percent": 90, "margin_percent": 0, "upstream_weight": 1}
TIER |= {f"{table}-{each}_FORMS": 0 for table in ("routes", "downgrades") for each in ("TOTAL", "INITIAL")}
MODEL = {
    "name": "claude", "upstream_name": "claude", "family": "claude", "context_window": 9, "max_output_tokens": 9,
}  # fmt: skip


def shown_at(client, address: str) -> str:
    """What the open page holds beside its fields."""
    return shown_on(client.get(address))


def shown_on(page) -> str:
    found = re.search(r'name="as_shown" value="([^"]+)"', page.content.decode())
    assert found, "the page sends nothing back to be compared"
    return found[1]


def change(row) -> str:
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk])


@pytest.mark.parametrize(
    ("make", "sent", "changed"),
    [
        (lambda: TenantFactory(name="Acme"), form_of, {"note": "by the other"}),
        (lambda: TierFactory(name="gold"), lambda row: TIER, {"description": "by the other"}),
        (lambda: ModelFactory(name="claude"), lambda row: MODEL, {"enabled": False}),
        (lambda: ApiKeyFactory(), lambda row: {"name": "mine"}, {"max_requests_per_minute": 7}),
    ],
    ids=["tenant", "tier", "model", "key"],
)
def test_nothing_is_saved_over_what_was_changed_meanwhile(staff, make, sent, changed):
    row = make()
    fields = sent(row) | {"as_shown": shown_at(staff, change(row))}
    for name, value in changed.items():
        setattr(row, name, value)
    row.save()

    page = staff.post(change(row), fields)

    assert "Nothing was saved" in page.content.decode()
    row.refresh_from_db()
    assert {name: getattr(row, name) for name in changed} == changed
    again = staff.post(change(row), fields | {"as_shown": shown_at(staff, change(row))})
    assert again.status_code == 302, again.context["adminform"].form.errors


def test_it_says_who_changed_it(staff, client):
    tenant = TenantFactory()
    fields = form_of(tenant) | {"as_shown": shown_at(staff, change(tenant))}
    other = client.__class__()
    other.force_login(StaffFactory(username="ada"))
    other.post(change(tenant), form_of(tenant, name="Ada was here"))

    page = staff.post(change(tenant), fields).content.decode()

    assert re.search(r"Nothing was saved: ada \(\d\d:\d\d UTC\) changed this", page)


def test_a_tenants_models_are_part_of_what_its_page_showed(staff):
    tenant = TenantFactory(models=[ModelFactory(name="mine")])
    fields = form_of(tenant) | {"as_shown": shown_at(staff, change(tenant))}
    tenant.allowed_models.add(ModelFactory(name="added meanwhile"))

    page = staff.post(change(tenant), fields)

    assert "Nothing was saved: somebody changed this" in page.content.decode()
    assert tenant.allowed_models.count() == 2


def test_a_tiers_routes_are_part_of_what_its_page_showed(staff):
    tier = TierFactory(name="gold")
    fields = TIER | {"as_shown": shown_at(staff, change(tier))}
    TierRouteFactory(tier=tier)

    assert "Nothing was saved" in staff.post(change(tier), fields).content.decode()


def test_the_routing_table_is_not_saved_over_a_newer_one(staff):
    address, route = reverse("admin:tenants_tier_routes"), TierRouteFactory(complexity="simple")
    was = route.model
    fields = {"as_shown": shown_at(staff, address), f"{route.tier_id}-simple": was.pk}
    TierRoute.objects.filter(pk=route.pk).update(model=ModelFactory())

    page = staff.post(address, fields)

    assert "Nothing was saved" in page.content.decode()
    route.refresh_from_db()
    assert route.model != was


def test_what_is_not_in_the_form_may_change_meanwhile(staff, redis_server):
    tenant = TenantFactory(name="Before")
    fields = form_of(tenant, name="After") | {"as_shown": shown_at(staff, change(tenant))}
    book(tenant=tenant, kind="topup", amount_usd=Decimal(5), reason="paid", reference="1")

    assert staff.post(change(tenant), fields).status_code == 302
    tenant.refresh_from_db()
    assert (tenant.name, tenant.topped_up_usd) == ("After", 5)


def test_a_page_that_had_to_be_corrected_is_still_held_against_what_it_first_showed(staff):
    tenant = TenantFactory()
    fields = form_of(tenant, name="") | {"as_shown": shown_at(staff, change(tenant))}
    page = staff.post(change(tenant), fields)
    set_status([tenant], status=TenantStatus.SUSPENDED)

    page = staff.post(change(tenant), form_of(tenant, status="active") | {"as_shown": shown_on(page)})

    assert "Nothing was saved" in page.content.decode()
    assert Tenant.objects.get().status == "suspended"


def test_what_a_page_never_sent_is_refused(staff):
    rule = ComplexityRuleFactory()

    page = staff.post(change(rule), {"kind": "keyword", "subject": "x", "as_shown": "made up"})

    assert "Nothing was saved" in page.content.decode()


def test_a_new_row_has_nothing_to_be_compared_with(staff):
    assert "as_shown" not in staff.get(reverse("admin:tenants_tenant_add")).content.decode()
