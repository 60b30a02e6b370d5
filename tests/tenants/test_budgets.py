"""Raising a monthly budget by an amount."""

from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError

from gateway_project.ground.money import LARGEST_BUDGET_USD
from tenants.budgets import raise_budget
from tests.factories import TenantFactory, TierFactory

pytestmark = pytest.mark.django_db


def raised(tenant, by="10"):
    done = raise_budget(tenant=tenant, by_usd=Decimal(by), reason="launch")
    tenant.refresh_from_db()
    return done, tenant.monthly_budget_usd


def test_two_raises_from_one_reading_are_both_had():
    tenant = TenantFactory(monthly_budget_usd=Decimal(100))
    again = type(tenant).objects.get(pk=tenant.pk)

    raised(tenant)

    assert raised(again) == (True, Decimal(120))


def test_the_tiers_budget_is_where_a_tenant_without_one_starts():
    tenant = TenantFactory(tier=TierFactory(monthly_budget_usd=Decimal(50)), monthly_budget_usd=None)

    assert raised(tenant) == (True, Decimal(60))


def test_no_budget_and_a_prepaid_balance_are_not_raised():
    unlimited = TenantFactory(tier=TierFactory(monthly_budget_usd=None), monthly_budget_usd=None)
    prepaid = TenantFactory(budget_mode="prepaid", monthly_budget_usd=Decimal(5))

    assert raised(unlimited) == (False, None)
    assert raised(prepaid) == (False, Decimal(5))


def test_a_budget_is_raised_no_further_than_the_meter_counts():
    tenant = TenantFactory(monthly_budget_usd=LARGEST_BUDGET_USD)

    with pytest.raises(ValidationError):
        raise_budget(tenant=tenant, by_usd=Decimal(1), reason="launch")
