from datetime import date
from decimal import Decimal

import pytest

from tenants.models import Tenant
from tenants.spend import with_spend
from tests.factories import DailyUsageFactory, TenantFactory

pytestmark = pytest.mark.django_db


def test_a_prepaid_balance_is_held_against_what_was_ever_spent():
    prepaid = TenantFactory(budget_mode="prepaid", topped_up_usd=50)
    monthly = TenantFactory(monthly_budget_usd=50)
    for tenant in (prepaid, monthly):
        DailyUsageFactory(tenant=tenant, cost_usd=7)
        DailyUsageFactory(tenant=tenant, day=date(2026, 1, 5), cost_usd=20)

    shown = {row.pk: (row.budget_usd, row.spent_usd) for row in with_spend(Tenant.objects.all())}

    assert shown == {
        prepaid.pk: (Decimal(50), Decimal(27)),
        monthly.pk: (Decimal(50), Decimal(7)),
    }
