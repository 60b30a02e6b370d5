"""What tenants have spent in their current period: from the live counter, or from the roll-up where that is cold."""

import time
from collections.abc import Sequence
from decimal import Decimal

from django.db.models import Sum

from billing.models import DailyUsage
from gateway_project.ground.money import to_usd
from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import PREPAID_COUNTER, budget_counter, named_key
from tenants.models import Tenant
from tenants.periods import period_of


def counter_of(tenant: Tenant, *, at: float | None = None) -> tuple[str, str]:
    """The name of the tenant's budget counter and the period's first day, at epoch second `at` (default: now)."""
    period = period_of(time.time() if at is None else at, tenant.timezone, tenant.billing_day).name
    return (PREPAID_COUNTER if tenant.budget_mode == "prepaid" else budget_counter(period)), period


def budget_of(tenant: Tenant) -> Decimal | None:
    """The USD that the tenant's current counter may reach; `None` is unlimited."""
    return tenant.spendable_usd


def current_spend(tenants: Sequence[Tenant]) -> dict[int, Decimal]:
    """USD spent by each of `tenants`, by id. One round trip to Redis for all of them."""
    counters = [(tenant, *counter_of(tenant)) for tenant in tenants]
    try:
        with store().pipeline(transaction=False) as pipeline:
            for tenant, counter, _ in counters:
                pipeline.hget(named_key(tenant.pk, counter), "spent")
            answers = pipeline.execute() if counters else []
    except STORE_ERRORS:
        answers = [None] * len(counters)
    spent = {}
    for (tenant, counter, period), answer in zip(counters, answers, strict=True):
        spent[tenant.pk] = _booked(tenant, counter, period) if answer is None else to_usd(int(answer))
    return spent


def _booked(tenant: Tenant, counter: str, period: str) -> Decimal:
    rows = DailyUsage.objects.filter(tenant=tenant)
    rows = rows if counter == PREPAID_COUNTER else rows.filter(period_start=period)
    return rows.aggregate(total=Sum("cost_usd"))["total"] or Decimal(0)
