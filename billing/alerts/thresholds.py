"""Budget thresholds: one `BudgetAlert` for each crossing, sent once.

`settle.lua` decides by the live counter which thresholds a call crosses. The drain records them in the transaction of
that call's row. Thresholds passed without such a call (a lowered budget, an added threshold, a counter that Redis lost
just then) are found later from the booked spend.

An alert stands until the spend is below its line again, for example after the budget was raised or a balance topped up.
Then its threshold is rearmed. A threshold that is still exceeded under the raised budget is not announced twice.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from billing.models import Adjustment, AdjustmentKind, AlertKind, AlertScope, BudgetAlert
from billing.webhooks.event_types import EventType
from billing.webhooks.publish import publish
from gateway_project.ground.one_by_one import one_by_one
from tenants.models import Tenant
from tenants.policy import BudgetMode
from tenants.spend import with_spend

if TYPE_CHECKING:
    from tenants.spend import SpendingTenant

# The longest period and a day: older alerts belong to another period.
LOOK_BACK = timedelta(days=32)


def tell_threshold(
    *,
    tenant: Tenant,
    percent: int,
    budget_usd: Decimal,
    spent_usd: Decimal,
    period_start: date,
    crossed_at: datetime,
    request_id: UUID | None = None,
) -> bool:
    """Record the crossing and publish its event; False if that was done already.

    For a prepaid balance the two amounts are of all time; what is recorded and published counts from the last top-up.
    """
    basis = _basis(tenant, period_start)
    if basis is None:
        return False
    if basis["scope"] == AlertScope.PREPAID:
        left = budget_usd - spent_usd
        budget_usd = tenant.topped_up_to_usd
        spent_usd = budget_usd - left
    with transaction.atomic():
        alert, new = BudgetAlert.objects.get_or_create(
            tenant=tenant,
            kind=AlertKind.THRESHOLD,
            threshold=percent,
            budget_usd=budget_usd,
            **basis,
            defaults={"spent_usd": spent_usd, "request_id": request_id, "crossed_at": crossed_at},
        )
        if new:
            _publish(alert)
    return new


def _publish(alert: BudgetAlert) -> None:
    """Publish `budget.exceeded` from 100 % on, else `budget.threshold_reached`; with what is left of a balance."""
    data = {
        "threshold_percent": alert.threshold,
        "budget_usd": str(alert.budget_usd),
        "spend_usd": str(alert.spent_usd),
        "period_start": alert.period_start.isoformat(),
        "request_id": str(alert.request_id) if alert.request_id else None,
        "crossed_at": alert.crossed_at.isoformat(),
    }
    if alert.scope == AlertScope.PREPAID:
        data |= {
            "left_percent": max(0, 100 - alert.threshold),
            "balance_usd": str(max(Decimal(0), alert.budget_usd - alert.spent_usd)),
            "balance_after_top_up_usd": str(alert.budget_usd),
        }
    kind = EventType.EXCEEDED if alert.threshold >= 100 else EventType.THRESHOLD
    publish(alert.tenant, kind, data, key=f"alert:{alert.pk}")


def _basis(tenant: Tenant, period_start: date) -> dict[str, Any] | None:
    """What the tenant's alerts are about: the period, or its balance's last top-up (`None` if there is none)."""
    if tenant.budget_mode != BudgetMode.PREPAID:
        return {"scope": AlertScope.TENANT, "subject": "", "period_start": period_start}
    top_up = Adjustment.objects.filter(tenant=tenant, kind=AdjustmentKind.TOPUP).order_by("-pk").first()
    if top_up is None:
        return None
    return {"scope": AlertScope.PREPAID, "subject": str(top_up.pk), "period_start": top_up.period_start}


def catch_up(now: datetime | None = None) -> int:
    """Rearm thresholds that the spend has fallen below, and publish those passed unnoticed. Returns how many.

    Raises SomeFailed if a tenant could not be checked; the others are.
    """
    moment = now or datetime.now(UTC)
    standing = _standing(moment)
    tenants = with_spend(Tenant.objects.select_related("tier").filter(deleted_at=None))
    spending = (each for each in tenants if each.budget_usd and each.spent_usd)
    return one_by_one(
        spending, lambda each: _catch_up(each, standing[each.pk], moment), what="budget thresholds"
    )


def _catch_up(tenant: "SpendingTenant", standing: list[BudgetAlert], moment: datetime) -> int:
    budget = tenant.budget_usd
    assert budget is not None
    basis = (_basis(tenant, tenant.period) or {}).items()
    alerts = [alert for alert in standing if all(getattr(alert, name) == value for name, value in basis)]
    passed = [percent for percent, line in lines(tenant) if tenant.spent_usd >= line]
    below = [alert.pk for alert in alerts if alert.threshold not in passed]
    if below:
        BudgetAlert.objects.filter(pk__in=below, rearmed_at=None).update(rearmed_at=moment)
    known = {alert.threshold for alert in alerts}
    return sum(
        tell_threshold(
            tenant=tenant,
            percent=percent,
            budget_usd=budget,
            spent_usd=tenant.spent_usd,
            period_start=tenant.period,
            crossed_at=moment,
        )
        for percent in passed
        if percent not in known
    )


def lines(tenant: Tenant) -> Iterator[tuple[int, Decimal]]:
    """Each threshold in percent and the spend in USD at which it is reached, in order, as the meter has them."""
    budget = tenant.spendable_usd
    if budget is None:
        return
    # For a prepaid balance the percentages count from the last top-up: at 80 a fifth of it is left.
    counted = tenant.topped_up_to_usd if tenant.budget_mode == BudgetMode.PREPAID else budget
    for percent in sorted(set(tenant.alert_percents)):
        yield percent, budget - counted * (100 - percent) / 100


def _standing(moment: datetime) -> dict[int, list[BudgetAlert]]:
    """The alerts that may stand, by tenant: those of the last period, and of prepaid balances."""
    recent = Q(period_start__gte=(moment - LOOK_BACK).date()) | Q(scope=AlertScope.PREPAID)
    found: dict[int, list[BudgetAlert]] = defaultdict(list)
    for alert in BudgetAlert.objects.filter(recent, kind=AlertKind.THRESHOLD, rearmed_at=None):
        found[alert.tenant_id].append(alert)
    return found
