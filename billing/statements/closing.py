"""Close a period: freeze its totals into a `Statement`, once, after the tenant's own midnight.

Nothing is reset, since the period is part of every counter's key. What reaches the ledger for a period that is already
closed goes to the next statement, as late usage.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Sum

from billing.ledger.books import undrained
from billing.meter.current_spend import budget_of
from billing.models import Adjustment, BudgetAlert, Statement, UsageRecord
from billing.usage import COUNTS
from billing.webhooks.event_types import EventType
from billing.webhooks.publish import publish
from gateway_project.ground.one_by_one import one_by_one
from tenants.models import Tenant
from tenants.periods import Span, period_of
from tenants.spend import period_start

logger = logging.getLogger(__name__)
# Calls that are open at midnight have this long to end. What ends later is late usage.
GRACE = timedelta(minutes=15)
# A batch of the drain is one transaction: rows of the last minute may not all be visible yet.
SETTLED_BEFORE = timedelta(minutes=1)
# How far back the task catches up after an outage.
LOOK_BACK = timedelta(days=400)
# The task runs every ten minutes and waits for the drain: what is open this long after GRACE is stuck.
OVERDUE_AFTER = timedelta(hours=1)
_LONG = ("lines", "late_lines", "adjustment_lines", "alerts")


def close_due(now: datetime | None = None) -> int:
    """Close every tenant's periods that have ended. Returns how many; closing twice is harmless.

    Raises SomeFailed if a tenant's periods could not be closed; the other tenants' are.
    """
    moment = now or datetime.now(UTC)
    waiting = undrained()
    last = _last_statements()

    def close_all_of(tenant: Tenant) -> int:
        closed = 0
        for period in _open_periods(tenant, last.get(tenant.pk), moment):
            if any(start == period.name for start, _ in waiting.get(tenant.pk, [])):
                logger.info("%s %s stays open: events are still to be drained", tenant.slug, period.name)
                break  # in order: the next one carries this one's late rows
            closed += close(tenant, period, now=moment)
        return closed

    tenants = Tenant.objects.select_related("tier").order_by("pk")
    return one_by_one(tenants, close_all_of, what="closing periods")


def periods_overdue(now: datetime | None = None) -> int:
    """How many periods of all tenants should have been closed more than an hour ago."""
    moment = (now or datetime.now(UTC)) - OVERDUE_AFTER
    # Metrics and the console call this often. Almost all tenants have a statement up to their current period, or are
    # younger than it; only the rest are looked at one by one.
    start = period_start(at=moment - GRACE)
    up_to_date = Statement.objects.filter(tenant=OuterRef("pk"), period_end__gte=OuterRef("start"))
    doubtful = (
        Tenant.objects.annotate(start=start)
        .filter(~Exists(up_to_date), created_at__date__lte=F("start"))
        .only("timezone", "billing_day", "created_at", "deleted_at")
    )
    last = _last_statements(tenant__in=[each.pk for each in doubtful])
    return sum(1 for each in doubtful for _ in _open_periods(each, last.get(each.pk), moment))


def _last_statements(**which: Any) -> dict[int, Statement]:
    """Each tenant's newest statement, without its lines."""
    statements = Statement.objects.filter(**which).order_by("tenant_id", "-period_start")
    return {each.tenant_id: each for each in statements.distinct("tenant_id").defer(*_LONG)}


def close(tenant: Tenant, period: Span, *, now: datetime) -> bool:
    """Freeze one period and publish an event; False if it was closed before."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('close'), %s)", [tenant.pk])
        start = date.fromisoformat(period.name)
        if Statement.objects.filter(tenant=tenant, period_start=start).exists():
            return False
        statement = _frozen(tenant, period, recorded_until=now - SETTLED_BEFORE)
        data = {
            "statement": statement.pk,
            "period_start": period.name,
            "period_end": statement.period_end.isoformat(),
            "usage_usd": str(statement.usage_usd),
            "total_usd": str(statement.total_usd),
        }
        publish(tenant, EventType.STATEMENT, data, key=f"statement:{statement.pk}")
        if tenant.budget_mode != "prepaid":
            data = {"period_start": statement.period_end.isoformat(), "budget_usd": _text(budget_of(tenant))}
            publish(tenant, EventType.RESET, data, key=f"{tenant.pk}:{statement.period_end}")
    return True


def _open_periods(tenant: Tenant, last: Statement | None, now: datetime) -> Iterator[Span]:
    """The tenant's periods that have ended since its last statement, the oldest first.

    If its billing day or time zone has changed, the first one may begin before that statement's end.
    """
    place = (tenant.timezone, tenant.billing_day)
    at = (last.ends_at if last else max(tenant.created_at, now - LOOK_BACK)).timestamp()
    until = min(now - GRACE, tenant.deleted_at or now).timestamp()
    while at <= until and (period := period_of(at, *place)).end <= (now - GRACE).timestamp():
        if last is None or date.fromisoformat(period.name) > last.period_start:
            yield period
        at = period.end


def _frozen(tenant: Tenant, period: Span, *, recorded_until: datetime) -> Statement:
    start = date.fromisoformat(period.name)
    before = Statement.objects.filter(tenant=tenant, period_start__lt=start).order_by("-period_start").first()
    rows = UsageRecord.objects.filter(tenant=tenant, recorded_at__lte=recorded_until)
    # `created_at` is when a call began. With a day on each side, other partitions can be skipped.
    mine = rows.filter(
        period_start=start,
        created_at__gte=_moment(period.start - 86_400),
        created_at__lt=_moment(period.end + 86_400),
    )
    late = rows.filter(period_start__lt=start, created_at__gte=_moment(period.start) - LOOK_BACK)
    if before is not None:
        # Written after their period was closed, or of a period that a changed billing day cut short.
        late = late.filter(
            Q(recorded_at__gt=before.recorded_until)
            | Q(period_start__gt=before.period_start, created_at__gte=before.starts_at - timedelta(days=1))
        )
    totals = mine.aggregate(
        usd=Sum("cost_usd"),
        upstream=Sum("upstream_cost_usd"),
        requests=Count("request_id"),
        **{name: Sum(name) for name in COUNTS},
    )
    late_usd = late.aggregate(usd=Sum("cost_usd"))["usd"] or Decimal(0)
    adjustments = list(
        Adjustment.objects.select_for_update()
        .filter(tenant=tenant, statement=None, created_at__lt=max(_moment(period.end), recorded_until))
        .filter(period_start__lte=start)
    )
    adjusted = sum((each.charge_usd for each in adjustments), Decimal(0))
    usage = totals["usd"] or Decimal(0)
    alerts = BudgetAlert.objects.filter(tenant=tenant, period_start=start)
    statement = Statement.objects.create(
        tenant=tenant,
        period_start=start,
        period_end=_next_start(period, tenant),
        starts_at=_moment(period.start),
        ends_at=_moment(period.end),
        timezone=tenant.timezone,
        budget_mode=tenant.budget_mode,
        budget_usd=budget_of(tenant),
        requests=totals["requests"],
        **{name: totals[name] or 0 for name in COUNTS},
        usage_usd=usage,
        upstream_cost_usd=totals["upstream"] or Decimal(0),
        late_usd=late_usd,
        adjustments_usd=adjusted,
        total_usd=usage + late_usd + adjusted,
        lines=_lines(mine),
        late_lines=_lines(late),
        adjustment_lines=[_adjustment(each) for each in adjustments],
        alerts=[_alert(each) for each in alerts.order_by("crossed_at", "threshold")],
        recorded_until=recorded_until,
    )
    Adjustment.objects.filter(pk__in=[each.pk for each in adjustments]).update(statement=statement)
    return statement


def _lines(rows: QuerySet[UsageRecord]) -> list[dict[str, Any]]:
    """Sums by model and key, the most expensive first."""
    grouped: Any = (
        rows.values("model", "api_key_id", "api_key__name", "period_start")
        .annotate(usd=Sum("cost_usd"), requests=Count("request_id"), **{f"n_{n}": Sum(n) for n in COUNTS})
        .order_by("-usd", "model", "api_key_id")
    )
    return [
        {
            "model": row["model"],
            "key": row["api_key_id"],
            "key_name": row["api_key__name"] or "",
            "period_start": row["period_start"].isoformat(),
            "requests": row["requests"],
            **{name: row[f"n_{name}"] for name in COUNTS},
            "cost_usd": str(row["usd"]),
        }
        for row in grouped
    ]


def _adjustment(row: Adjustment) -> dict[str, Any]:
    return {
        "id": row.pk,
        "kind": row.kind,
        "amount_usd": str(row.amount_usd),
        "charge_usd": str(row.charge_usd),
        "reason": row.reason,
        "reference": row.reference,
        "created_at": row.created_at.isoformat(),
    }


def _alert(row: BudgetAlert) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "scope": row.scope,
        "subject": row.subject,
        "threshold": row.threshold,
        "spent_usd": str(row.spent_usd),
        "budget_usd": str(row.budget_usd),
        "crossed_at": row.crossed_at.isoformat(),
    }


def _next_start(period: Span, tenant: Tenant) -> date:
    return date.fromisoformat(period_of(period.end, tenant.timezone, tenant.billing_day).name)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)
