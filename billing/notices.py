"""What tenants and the operator are told of: thresholds, keys, forecasts, unusual spend. Each of it once."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q, Sum
from django.utils import timezone

from billing.models import AlertKind, BudgetAlert, DailyUsage
from billing.periods import day_of, period_of
from billing.spend import budget_of
from billing.webhooks.publish import EventType, publish
from tenants.models import ApiKey, Tenant

# How far back keys are looked for; an outage of the worker shorter than this heals by itself.
LOOK_BACK = timedelta(days=2)
# A forecast needs this share of the period behind it, and is worth a notice below this share of it.
FORECAST_FROM = Decimal("0.1")
# Unusual: today's spend is this many times the dearest of the 14 days before, and no small change.
ANOMALY_FACTOR = 3
ANOMALY_DAYS = 14
ANOMALY_LEAST_DAYS = 3
ANOMALY_LEAST_USD = Decimal(1)


def publish_threshold(alert: BudgetAlert) -> None:
    """The event of a budget's threshold: `budget.exceeded` at 100 %, else `budget.threshold_reached`."""
    publish(
        alert.tenant,
        EventType.EXCEEDED if alert.threshold >= 100 else EventType.THRESHOLD,
        {
            "threshold_percent": alert.threshold,
            "budget_usd": str(alert.budget_usd),
            "spend_usd": str(alert.spent_usd),
            "period_start": alert.period_start.isoformat(),
            "request_id": str(alert.request_id) if alert.request_id else None,
            "crossed_at": alert.crossed_at.isoformat(),
        },
        key=f"alert:{alert.pk}",
    )


def announce_keys() -> int:
    """`key.created` and `key.revoked`, whoever made the change; told to endpoints that existed by then."""
    since = timezone.now() - LOOK_BACK
    keys = ApiKey.objects.select_related("tenant").filter(Q(created_at__gte=since) | Q(revoked_at__gte=since))
    told = 0
    for key in keys:
        data = {"key": key.pk, "name": key.name, "prefix": key.prefix}
        with transaction.atomic():
            if key.created_at >= since:
                told += publish(
                    key.tenant,
                    EventType.KEY_CREATED,
                    {**data, "at": key.created_at.isoformat()},
                    key=f"{key.pk}",
                    at=key.created_at,
                )
            if key.revoked_at and key.revoked_at >= since:
                told += publish(
                    key.tenant,
                    EventType.KEY_REVOKED,
                    {**data, "at": key.revoked_at.isoformat()},
                    key=f"{key.pk}:{key.revoked_at.isoformat()}",
                    at=key.revoked_at,
                )
    return told


def notice_usage(now: datetime | None = None) -> int:
    """Forecasts, daily tokens reached and unusual spend, from the roll-ups; how many are new."""
    moment = now or datetime.now(UTC)
    since = (moment - timedelta(days=ANOMALY_DAYS + 32)).date()
    spent: dict[int, dict[date, tuple[Decimal, int]]] = {}
    rows = (
        DailyUsage.objects.filter(day__gte=since)
        .values("tenant_id", "day")
        .annotate(
            usd=Sum("cost_usd"),
            tokens=Sum("input_tokens")
            + Sum("output_tokens")
            + Sum("cache_read_tokens")
            + Sum("cache_write_5m_tokens")
            + Sum("cache_write_1h_tokens"),
        )
    )
    for row in rows:
        spent.setdefault(row["tenant_id"], {})[row["day"]] = (row["usd"], row["tokens"])
    tenants = Tenant.objects.filter(pk__in=spent, deleted_at=None).select_related("tier")
    return sum(_notice(tenant, spent[tenant.pk], moment) for tenant in tenants)


def _notice(tenant: Tenant, days: dict[date, tuple[Decimal, int]], now: datetime) -> int:
    today = date.fromisoformat(day_of(now.timestamp(), tenant.timezone).name)
    found = _forecast(tenant, days, now) + _anomaly(tenant, days, today)
    own = tenant.max_tokens_per_day
    limit = tenant.tier.max_tokens_per_day if own is None else own
    tokens = days.get(today, (Decimal(0), 0))[1]
    if limit is not None and tokens >= limit:
        found += _once(
            tenant,
            AlertKind.TOKENS_DAY,
            EventType.TOKENS_DAY,
            today,
            100,
            Decimal(0),
            days[today][0],
            {"tokens": tokens, "limit": limit, "day": today.isoformat()},
        )
    return found


def _forecast(tenant: Tenant, days: dict[date, tuple[Decimal, int]], now: datetime) -> int:
    """At the period's pace so far, the budget ends before the period does."""
    budget = budget_of(tenant)
    if not budget or tenant.budget_mode == "prepaid":
        return 0
    period = period_of(now.timestamp(), tenant.timezone, tenant.billing_day)
    start = date.fromisoformat(period.name)
    spend = sum((usd for day, (usd, _) in days.items() if day >= start), Decimal(0))
    elapsed, length = Decimal(now.timestamp()) - period.start, Decimal(period.end - period.start)
    if elapsed / length < FORECAST_FROM or spend >= budget or spend * length <= budget * elapsed:
        return 0
    ends = datetime.fromtimestamp(int(period.start + elapsed * budget / spend), UTC)
    details = {
        "budget_usd": str(budget),
        "spend_usd": str(spend),
        "forecast_usd": str((spend * length / elapsed).quantize(Decimal("0.01"))),
        "budget_ends_on": day_of(ends.timestamp(), tenant.timezone).name,
        "period_start": period.name,
    }
    return _once(tenant, AlertKind.FORECAST, EventType.FORECAST, start, 100, budget, spend, details)


def _anomaly(tenant: Tenant, days: dict[date, tuple[Decimal, int]], today: date) -> int:
    """Today's spend is three times the dearest of the last fourteen days, of which three had any."""
    before = [days[day][0] for day in days if today - timedelta(days=ANOMALY_DAYS) <= day < today]
    active = [usd for usd in before if usd > 0]
    spend = days.get(today, (Decimal(0), 0))[0]
    if len(active) < ANOMALY_LEAST_DAYS or spend < max(ANOMALY_LEAST_USD, ANOMALY_FACTOR * max(active)):
        return 0
    details = {
        "day": today.isoformat(),
        "spend_usd": str(spend),
        "usual_most_usd": str(max(active)),
        "rule": f"more than {ANOMALY_FACTOR} times the dearest of the last {ANOMALY_DAYS} days",
    }
    return _once(tenant, AlertKind.ANOMALY, EventType.ANOMALY, today, 100, Decimal(0), spend, details)


def _once(
    tenant: Tenant,
    kind: AlertKind,
    event_type: EventType,
    period_start: date,
    threshold: int,
    budget: Decimal,
    spent: Decimal,
    details: Mapping[str, Any],
) -> int:
    """A `BudgetAlert` and its event; 0 if there is one already."""
    with transaction.atomic():
        alert, new = BudgetAlert.objects.get_or_create(
            tenant=tenant,
            kind=kind,
            period_start=period_start,
            threshold=threshold,
            budget_usd=budget,
            defaults={"spent_usd": spent, "crossed_at": timezone.now(), "details": details},
        )
        if new:
            publish(tenant, event_type, details, key=f"alert:{alert.pk}")
    return int(new)
