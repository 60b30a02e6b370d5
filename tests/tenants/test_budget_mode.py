"""A tenant that changes its budget mode and comes back finds what it used meanwhile counted."""

from decimal import Decimal

import pytest
from django.urls import reverse
from rest_framework.test import APIClient

from billing.ledger.adjustments import book
from billing.ledger.books import check_books
from billing.ledger.drain import drain_all
from billing.meter.current_spend import counter_of, current_spend
from gateway_project.ground.redis_keys import every_tag, tenant_key
from tenants.budget_mode import forget_idle_counters
from tenants.models import Tenant
from tenants.people.operators import rotate_token
from tests.billing.alerts.test_thresholds import spend
from tests.factories import StaffFactory, TenantFactory
from tests.gateway_project.console.tenant_form import form_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def acme(redis_server):
    for tag in every_tag():
        redis_server.hset(f"{tag}:shard", mapping={"epoch": "e", "opens_ms": 0})
    return TenantFactory(slug="acme", monthly_budget_usd=Decimal(100))


def by_api(client, tenant, mode):
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(StaffFactory())}")
    assert api.patch(f"/api/tenants/{tenant.slug}", {"budget_mode": mode}, format="json").status_code == 200


def by_console(client, tenant, mode):
    client.force_login(StaffFactory())
    tenant.refresh_from_db()
    fields = form_of(tenant, budget_mode=mode, monthly_budget_usd="100", confirmed="on")
    page = client.post(reverse("admin:tenants_tenant_change", args=[tenant.pk]), fields)
    assert page.status_code == 302, page.context["adminform"].form.errors


@pytest.mark.parametrize("switch", [by_api, by_console])
@pytest.mark.parametrize(("mode", "other"), [("hard", "prepaid"), ("prepaid", "hard"), ("soft", "prepaid")])
def test_there_and_back_within_a_period_counts_everything(acme, client, switch, mode, other):
    book(tenant=acme, kind="topup", amount_usd=Decimal(50), reason="invoice", reference="1")
    Tenant.objects.update(budget_mode=mode)
    spend(acme, 5)
    switch(client, acme, other)
    spend(acme, 7)
    switch(client, acme, mode)

    spend(acme, 1)
    drain_all()

    acme.refresh_from_db()
    assert current_spend([acme])[acme.pk] == 13
    assert all(each.ok for each in check_books([acme]))


def test_the_counter_in_use_stays_when_a_tenant_is_changed_otherwise(acme, client, redis_server):
    spend(acme, 5)

    by_api(client, acme, "hard")

    assert len(redis_server.keys(f"{tenant_key(acme.pk)}:b:*")) == 1


@pytest.mark.parametrize(("was", "now"), [("prepaid", "hard"), ("hard", "prepaid")])
def test_a_change_that_nobody_announced_is_found_by_the_sweep(acme, was, now):
    book(tenant=acme, kind="topup", amount_usd=Decimal(50), reason="invoice", reference="1")
    Tenant.objects.update(budget_mode=was)
    spend(acme, 5)
    Tenant.objects.update(budget_mode=now)
    spend(acme, 7)

    assert forget_idle_counters() == 1

    Tenant.objects.update(budget_mode=was)
    spend(acme, 1)
    drain_all()
    acme.refresh_from_db()
    assert current_spend([acme])[acme.pk] == 13
    assert forget_idle_counters() == 1  # that of the other mode, by now
    assert forget_idle_counters() == 0


def test_the_sweep_knows_the_period_by_the_tenants_own_time(redis_server):
    far = TenantFactory(billing_day=31, timezone="Pacific/Auckland")
    counter, _ = counter_of(far)
    redis_server.hset(f"{tenant_key(far.pk)}:{counter}", "spent", 1)
    Tenant.objects.update(budget_mode="prepaid")

    assert forget_idle_counters() == 1
