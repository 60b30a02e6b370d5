"""A tenant that has just been made: what it may use, and what its page says is left to do."""

import json
from decimal import Decimal

import pytest
from django.urls import reverse

from tenants.models import Tenant
from tests.factories import (
    ApiKeyFactory,
    DailyUsageFactory,
    InvitationFactory,
    MembershipFactory,
    ModelFactory,
    TenantFactory,
    TierFactory,
    TierRouteFactory,
)

pytestmark = pytest.mark.django_db
ADD, LIST = "admin:tenants_tenant_add", "admin:tenants_tenant_changelist"


@pytest.fixture
def tier():
    made = TierFactory(name="pro")
    made.default_models.set([ModelFactory(name="opus"), ModelFactory(name="sonnet")])
    return made


def add(client, tier, **given):
    fields = {
        "name": "Fresh Fruit",
        "slug": "fresh-fruit",
        "tier": tier.pk,
        "status": "active",
        "budget_mode": "hard",
        "alert_percents": "80",
        "billing_day": 1,
        "timezone": "UTC",
        "disconnect_policy": "cancel",
    }
    return client.post(reverse(ADD), fields | given)


def page_of(client, tenant):
    return client.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).content.decode()


def names_of(tenant):
    return sorted(model.name for model in tenant.allowed_models.all())


def test_models_that_were_chosen_are_the_only_ones(staff, tier):
    own = ModelFactory(name="gpt-4o")

    add(staff, tier, models=[own.pk])

    assert names_of(Tenant.objects.get()) == ["gpt-4o"]


def test_a_default_model_may_be_one_of_the_tiers(staff, tier):
    sonnet = tier.default_models.get(name="sonnet")

    add(staff, tier, default_model=sonnet.pk)

    assert Tenant.objects.get().default_model == sonnet


def test_taking_every_model_away_later_stays_possible(staff, tier):
    add(staff, tier)
    tenant = Tenant.objects.get()

    shown = staff.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).context["adminform"].form
    fields = {name: shown[name].value() for name in shown.fields if shown[name].value() is not None}
    fields |= {"models": [], "alert_percents": "80", "alert_emails": ""}
    for prefix in ("keys", "memberships"):
        fields |= {f"{prefix}-TOTAL_FORMS": 0, f"{prefix}-INITIAL_FORMS": 0}
    staff.post(reverse("admin:tenants_tenant_change", args=[tenant.pk]), fields)

    assert names_of(tenant) == []


def test_the_form_knows_what_each_tier_offers(staff, tier):
    bare = TierFactory(name="bare")

    page = staff.get(reverse(ADD))

    widget = page.context["adminform"].form.fields["models"].widget
    assert json.loads(widget.attrs["data-of-tiers"]) == {str(tier.pk): ["opus", "sonnet"], str(bare.pk): []}
    assert "tier_models.js" in page.content.decode()
    assert "keys-TOTAL_FORMS" not in page.content.decode()


def test_saving_lands_at_its_page_with_what_is_left_to_do(staff, tier):
    TierRouteFactory(tier=tier, complexity="simple", model=tier.default_models.get(name="sonnet"))

    landed = add(staff, tier)

    tenant = Tenant.objects.get()
    assert landed.url == reverse("admin:tenants_tenant_change", args=[tenant.pk])
    page = staff.get(landed.url)
    assert [(step.what, step.done) for step in page.context["next_steps"]] == [
        ("Allow models", True),
        ("Create an API key", False),
        ("Invite someone", False),
    ]
    text = page.content.decode()
    assert f"{reverse('admin:tenants_apikey_add')}?tenant={tenant.pk}" in text
    assert "&quot;model&quot;:&quot;sonnet&quot;" in text
    assert "No models allowed" not in text


@pytest.mark.parametrize("person", [MembershipFactory, InvitationFactory])
def test_steps_are_ticked_off_and_gone_after_the_first_call(staff, tier, person):
    add(staff, tier)
    tenant = Tenant.objects.get()
    ApiKeyFactory(tenant=tenant)
    person(tenant=tenant)
    url = reverse("admin:tenants_tenant_change", args=[tenant.pk])

    assert all(step.done for step in staff.get(url).context["next_steps"])
    DailyUsageFactory(tenant=tenant, cost_usd=Decimal(1))

    assert "Next steps" not in page_of(staff, tenant)


def test_steps_that_are_not_ones_to_take_are_no_links(as_role):
    tenant = TenantFactory()

    page = as_role("Support").get(reverse("admin:tenants_tenant_change", args=[tenant.pk]))

    links = {step.what: step.link for step in page.context["next_steps"]}
    assert links["Allow models"] == ""


@pytest.mark.parametrize("enabled", [None, False])
def test_a_tenant_without_a_usable_model_is_flagged_where_it_is_seen(staff, enabled):
    models = [] if enabled is None else [ModelFactory(enabled=enabled)]
    tenant = TenantFactory(models=models)

    assert "No models allowed: every call is refused." in page_of(staff, tenant)
    assert "No models" in staff.get(reverse(LIST)).content.decode()


def test_one_with_a_model_is_not_flagged(staff):
    tenant = TenantFactory(models=[ModelFactory()])

    assert "No models allowed" not in page_of(staff, tenant)
    assert "No models" not in staff.get(reverse(LIST)).content.decode()
