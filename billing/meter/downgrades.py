"""When cheaper models serve, and what that saved."""

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
from django.db.models import QuerySet, Sum

from billing.meter.current_spend import counter_of
from billing.models import DailyUsage
from gateway_project.ground.money import spend_at
from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import named_key
from tenants.models import Tenant
from tenants.policy import BudgetMode, Policy
from tenants.snapshots import policy_of, read_version


class Lines(msgspec.Struct, frozen=True):
    """The spend from which cheaper models are preferred, and below which no longer (nano-USD; -1 is never)."""

    start: int = -1
    end: int = -1

    def saves(self, spent: int, *, latched: bool) -> bool:
        """Whether they are at `spent`, as `admit.lua` has it; `latched`: they were before."""
        return self.start >= 0 and spent >= (self.end if latched else self.start)


class DowngradeState(msgspec.Struct, frozen=True):
    """The policy as its tenant sees it. `targets`: by model, what serves in its place. `active`: now."""

    from_percent: int
    until_percent: int
    targets: dict[str, str]
    active: bool


class Saved(msgspec.Struct, frozen=True):
    """Downgraded calls of one period: what they cost, and what the same tokens would have cost more as asked."""

    period_start: date | None
    requests: int
    paid_usd: Decimal
    saved_usd: Decimal

    @property
    def would_have_cost_usd(self) -> Decimal:
        return self.paid_usd + self.saved_usd


_SUMS = {
    "requests": Sum("downgraded_requests"),
    "paid_usd": Sum("downgraded_cost_usd"),
    "saved_usd": Sum("saved_usd"),
}


def lines_of(policy: Policy) -> Lines:
    """Of a prepaid balance the percentages count from the last top-up: at 80 a fifth of it is left."""
    budget = policy.monthly_budget_nano
    if budget is None or policy.budget_mode is BudgetMode.SOFT:
        return Lines()
    counted = policy.alerts_below_nano
    return Lines(
        start=spend_at(policy.downgrade_percent, budget, counted),
        end=spend_at(policy.downgrade_release_percent, budget, counted),
    )


def targets_of(policy: Policy) -> dict[str, str]:
    """By model, the one that takes over near the budget's end."""
    return {
        model.name: model.downgrade_to
        for model in policy.models.values()
        if model.downgrade_to and model.downgrade_to in policy.models
    }


def state_of(tenant: Tenant) -> DowngradeState:
    """The tenant's downgrade policy; not active while Redis is away, since nothing is admitted then."""
    try:
        policy = policy_of(tenant, version=read_version(tenant.pk))
        counter, _ = counter_of(tenant)
        spent, latched = store().hmget(named_key(tenant.pk, counter), "spent", "saving")
    except STORE_ERRORS:
        return DowngradeState(from_percent=0, until_percent=0, targets={}, active=False)
    return DowngradeState(
        from_percent=policy.downgrade_percent,
        until_percent=policy.downgrade_release_percent,
        targets=targets_of(policy),
        active=lines_of(policy).saves(int(spent or 0), latched=latched is not None),
    )


def saved_between(tenant_id: int, *, since: date, until: date | None = None) -> Saved:
    """What downgrades saved in these days, both included."""
    rows = DailyUsage.objects.filter(tenant_id=tenant_id, day__gte=since)
    if until is not None:
        rows = rows.filter(day__lte=until)
    sums = rows.aggregate(**_SUMS)
    return Saved(
        period_start=None,
        requests=sums["requests"] or 0,
        paid_usd=sums["paid_usd"] or Decimal(0),
        saved_usd=sums["saved_usd"] or Decimal(0),
    )


def saved_by_period(tenant_id: int, *, most: int = 12) -> list[Saved]:
    """What they saved in each period that had any, the newest first."""
    rows: QuerySet[Any] = DailyUsage.objects.filter(tenant_id=tenant_id).values("period_start").order_by()
    sums = rows.annotate(**_SUMS).filter(requests__gt=0).order_by("-period_start")
    return [Saved(**row) for row in sums[:most]]
