from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from gateway_project.ground.money import LARGEST_BUDGET_USD
from tenants.models import AllowedModel, limits
from tests.factories import (
    ApiKeyFactory,
    InvitationFactory,
    MembershipFactory,
    ModelFactory,
    TenantFactory,
    TierFactory,
    TierRouteFactory,
)

pytestmark = pytest.mark.django_db


def refused(match: str):
    return pytest.raises(IntegrityError, match=match)


def test_the_largest_budget_is_what_the_meter_can_count():
    assert limits.LARGEST_BUDGET_USD == LARGEST_BUDGET_USD


def test_a_new_tier_has_the_documented_defaults():
    tier = TierFactory()

    assert (tier.max_requests_per_minute, tier.max_tokens_per_day, tier.monthly_budget_usd) == (
        60,
        500_000,
        100,
    )
    assert tier.downgrade_percent == 90


def test_a_new_tenant_inherits_every_limit():
    tenant = TenantFactory()

    assert tenant.max_requests_per_minute is tenant.monthly_budget_usd is tenant.downgrade_percent is None
    assert tenant.alert_percents == [80, 90, 100]


@pytest.mark.parametrize("factory", [TierFactory, TenantFactory, ApiKeyFactory])
@pytest.mark.parametrize("budget", [Decimal("-0.01"), Decimal("9000000.01")])
def test_a_budget_the_meter_cannot_count_is_refused(factory, budget):
    with refused("budget_can_be_counted"), transaction.atomic():
        factory(monthly_budget_usd=budget)


@pytest.mark.parametrize("budget", [Decimal(0), LARGEST_BUDGET_USD])
def test_budgets_up_to_the_bounds_are_fine(budget):
    assert TenantFactory(monthly_budget_usd=budget).pk


@pytest.mark.parametrize(
    ("wrong", "constraint"),
    [
        ({"billing_day": 0}, "billing_day_is_a_day"),
        ({"billing_day": 32}, "billing_day_is_a_day"),
        ({"slug": "Acme Corp"}, "slug_is_a_slug"),
        ({"slug": ""}, "slug_is_a_slug"),
        ({"status": "asleep"}, "status_is_known"),
        ({"budget_mode": "free"}, "budget_mode_is_known"),
        ({"disconnect_policy": "shrug"}, "disconnect_policy_is_known"),
        ({"downgrade_percent": 101}, "downgrade_is_a_percentage"),
        ({"margin_percent": Decimal(-101)}, "margin_is_sane"),
    ],
)
def test_impossible_tenants_are_refused(wrong, constraint):
    with refused(constraint), transaction.atomic():
        TenantFactory(**wrong)


def test_a_time_zone_must_exist():
    with pytest.raises(ValidationError, match="not an IANA time zone"):
        TenantFactory(timezone="Mars/Olympus").full_clean()


def test_a_tenant_with_keys_is_never_deleted():
    key = ApiKeyFactory()

    with pytest.raises(ProtectedError):
        key.tenant.delete()


def test_two_keys_never_share_a_digest():
    key = ApiKeyFactory()

    with refused("digest"), transaction.atomic():
        ApiKeyFactory(digest=key.digest)


def test_a_digest_is_a_sha256_in_hex():
    with refused("digest_is_sha256"), transaction.atomic():
        ApiKeyFactory(digest="tn_plain_key")


def test_a_model_is_allowed_once():
    model = ModelFactory()
    tenant = TenantFactory(models=[model])

    with refused("allowedmodel_unique"), transaction.atomic():
        AllowedModel.objects.create(tenant=tenant, model=model)


def test_a_tier_has_one_route_for_a_complexity():
    route = TierRouteFactory()

    with refused("tierroute_unique"), transaction.atomic():
        TierRouteFactory(tier=route.tier)


def test_a_person_is_a_member_once():
    member = MembershipFactory()

    with refused("membership_unique"), transaction.atomic():
        MembershipFactory(tenant=member.tenant, user=member.user)


def test_a_person_has_one_open_invitation():
    invitation = InvitationFactory(email="ada@example.com")

    with refused("one_open_per_person"), transaction.atomic():
        InvitationFactory(tenant=invitation.tenant, email="Ada@Example.com")
