"""Raising a monthly budget: by an amount, so that two who do it at once both have their raise."""

from decimal import Decimal

from django.db import transaction

from tenants.models import Tenant
from tenants.policy import BudgetMode


@transaction.atomic
def raise_budget(*, tenant: Tenant, by_usd: Decimal, reason: str) -> bool:
    """Give the tenant `by_usd` more than its own or its tier's budget a month; `False` where there is none."""
    row = Tenant.objects.select_for_update(of=("self",)).select_related("tier").get(pk=tenant.pk)
    own = row.monthly_budget_usd
    budget = row.tier.monthly_budget_usd if own is None else own
    if budget is None or row.budget_mode == BudgetMode.PREPAID:
        return False
    row.monthly_budget_usd = budget + by_usd
    row.change_reason = reason
    row.full_clean(validate_unique=False)
    row.save(update_fields=["monthly_budget_usd", "updated_at"])
    return True
