"""Raise a monthly budget by an amount, so that two raises at the same time both count."""

from decimal import Decimal

from django.db import transaction

from tenants.models import Tenant
from tenants.policy import BudgetMode


@transaction.atomic
def raise_budget(*, tenant: Tenant, by_usd: Decimal, reason: str) -> bool:
    """Raise the tenant's monthly budget, its own or its tier's, by `by_usd`. False if it has none."""
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
