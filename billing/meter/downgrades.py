"""When cheaper models serve near a budget's end, and what that saved."""

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
    """Cheaper models are preferred once the spend reaches `start`, until it is below `end` (nano-USD; -1: never)."""

    start: int = -1
    end: int = -1

    def saves(self, spent: int, *, latched: bool) -> bool:
        """Whether cheaper models are preferred at `spent`, by the rule of `admit.lua`. `latched`: they already were."""
        return self.start >= 0 and spent >= (self.end if latched else self.start)


class DowngradeState(msgspec.Struct, frozen=True):
    """The downgrade policy as its tenant sees it. `targets`: the cheaper model for each model. `active`: in use now."""

    from_percent: int
    until_percent: int
    targets: dict[str, str]
    active: bool


class Saved(msgspec.Struct, frozen=True):
    """The downgraded calls of one period: what they cost, and how much more the same tokens of the preferred model
    would have cost.
    """

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
    """The policy's lines. For a prepaid balance the percentages count from the last top-up: at 80 a fifth is left."""
    budget = policy.monthly_budget_nano
    if budget is None or policy.budget_mode is BudgetMode.SOFT:
        return Lines()
    counted = policy.alerts_below_nano
    return Lines(
        start=spend_at(policy.downgrade_percent, budget, counted),
        end=spend_at(policy.downgrade_release_percent, budget, counted),
    )


def targets_of(policy: Policy) -> dict[str, str]:
    """For each model, the allowed one that takes over near the budget's end."""
    return {
        model.name: model.downgrade_to
        for model in policy.models.values()
        if model.downgrade_to and model.downgrade_to in policy.models
    }


def state_of(tenant: Tenant) -> DowngradeState:
    """The tenant's downgrade policy; empty and inactive while Redis is away, since nothing is admitted then."""
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
    """What downgrades saved from `since` until `until`, both included; by default until today."""
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
    """What downgrades saved in each of the last `most` periods that had any, the newest first."""
    rows: QuerySet[Any] = DailyUsage.objects.filter(tenant_id=tenant_id).values("period_start").order_by()
    sums = rows.annotate(**_SUMS).filter(requests__gt=0).order_by("-period_start")
    return [Saved(**row) for row in sums[:most]]
