"""Notices besides budget thresholds: keys, daily tokens, forecasts, unusual spend.

Each is sent once. `docs/money.md` has the rules as customers read them.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import TruncHour
from django.utils import timezone

from billing.meter.current_spend import budget_of
from billing.models import (
    AlertKind,
    BudgetAlert,
    DailyUsage,
    UsageRecord,
    WebhookDelivery,
    WebhookEndpoint,
)
from billing.models.usage_record import TOTAL_TOKENS
from billing.webhooks.event_types import EventType
from billing.webhooks.publish import event_id, publish
from gateway_project.ground.one_by_one import one_by_one
from tenants.models import ApiKey, Tenant
from tenants.periods import day_of, period_of
from tenants.policy import BudgetMode

# How far back changes of keys are looked for: every few seconds, and now and then. After an outage of the worker that
# is shorter than the latter, it catches up by itself.
LATELY = timedelta(minutes=5)
LOOK_BACK = timedelta(days=2)
# Forecasts are sent after the first of these shares of a period and before the second.
FORECAST_FROM = Decimal("0.1")
# Spend is unusual if the last hour's is this many times the highest hour's of the 14 days before, at least three of
# which had any, and is not just small change.
HOUR = timedelta(hours=1)
ANOMALY_FACTOR = 3
ANOMALY_DAYS = 14
ANOMALY_LEAST_DAYS = 3
ANOMALY_LEAST_USD = Decimal(1)


def announce_keys(look_back: timedelta = LATELY) -> int:
    """Publish `key.created` and `key.revoked`, whoever made the change. Returns how many deliveries are new."""
    listening = WebhookEndpoint.objects.filter(enabled=True).filter(
        Q(events=[]) | Q(events__overlap=[EventType.KEY_CREATED, EventType.KEY_REVOKED])
    )
    tenants = set(listening.values_list("tenant_id", flat=True))
    if not tenants:
        return 0
    since = timezone.now() - look_back
    keys = ApiKey.objects.select_related("tenant").filter(Q(created_at__gte=since) | Q(revoked_at__gte=since))
    if None not in tenants:  # the operator's endpoints get every tenant's
        keys = keys.filter(tenant_id__in=tenants)
    changes = [change for key in keys for change in _changes(key, since)]
    ids = [event_id(kind, name) for _, kind, name, _ in changes]
    published = set(WebhookDelivery.objects.filter(event_id__in=ids).values_list("event_id", flat=True))
    new = [change for change, known in zip(changes, ids, strict=True) if known not in published]
    return one_by_one(new, lambda change: _announce(*change), what="key events")


def _changes(key: ApiKey, since: datetime) -> Iterator[tuple[ApiKey, EventType, str, datetime]]:
    """The changes of `key` since then: the event, its identifying name, and when."""
    if key.created_at >= since:
        yield key, EventType.KEY_CREATED, f"{key.pk}", key.created_at
    if key.revoked_at and key.revoked_at >= since:
        yield key, EventType.KEY_REVOKED, f"{key.pk}:{key.revoked_at.isoformat()}", key.revoked_at


def _announce(key: ApiKey, kind: EventType, name: str, at: datetime) -> int:
    data = {"key": key.pk, "name": key.name, "prefix": key.prefix, "at": at.isoformat()}
    with transaction.atomic():
        return publish(key.tenant, kind, data, key=name, at=at)


def notice_limits(now: datetime | None = None) -> int:
    """Announce daily token limits that are reached, by the roll-ups. Returns how many are new.

    A raised limit is announced again when it is reached.
    """
    moment = now or datetime.now(UTC)
    days = [(moment + timedelta(days=offset)).date() for offset in (-1, 0, 1)]  # "today" in any time zone
    rows = DailyUsage.objects.filter(day__in=days).values("tenant_id", "day").order_by()
    used = {
        (row["tenant_id"], row["day"]): row
        for row in rows.annotate(usd=Sum("cost_usd"), tokens=Sum(TOTAL_TOKENS))
    }

    def notice(tenant: Tenant) -> int:
        today = date.fromisoformat(day_of(moment.timestamp(), tenant.timezone).name)
        own = tenant.max_tokens_per_day
        limit = tenant.tier.max_tokens_per_day if own is None else own
        row = used.get((tenant.pk, today))
        if row is None or limit is None or row["tokens"] < limit:
            return 0
        details = {"tokens": row["tokens"], "limit": limit, "day": today.isoformat()}
        return _once(
            tenant,
            AlertKind.TOKENS_DAY,
            EventType.TOKENS_DAY,
            period_start=today,
            subject=str(limit),
            spent=row["usd"],
            details=details,
        )

    return one_by_one(_tenants({tenant_id for tenant_id, _ in used}), notice, what="daily token limits")


def notice_usage(now: datetime | None = None) -> int:
    """Announce forecasts and unusual spend. Returns how many are new."""
    moment = now or datetime.now(UTC)
    since = (moment - timedelta(days=ANOMALY_DAYS + 32)).date()
    rows = DailyUsage.objects.filter(day__gte=since).values("tenant_id", "day").order_by()
    spent: dict[int, dict[date, Decimal]] = {}
    for row in rows.annotate(usd=Sum("cost_usd")):
        spent.setdefault(row["tenant_id"], {})[row["day"]] = row["usd"]
    last_hour = _spend_of_last_hour(moment)

    def notice(tenant: Tenant) -> int:
        days, spend = spent[tenant.pk], last_hour.get(tenant.pk, Decimal(0))
        return _forecast(tenant, days, moment) + _anomaly(tenant, days, spend, moment)

    return one_by_one(_tenants(set(spent)), notice, what="forecasts and unusual spend")


def _tenants(ids: set[int]) -> QuerySet[Tenant]:
    return Tenant.objects.filter(pk__in=ids, deleted_at=None).select_related("tier")


def _forecast(tenant: Tenant, days: dict[date, Decimal], now: datetime) -> int:
    """Announce that at the pace so far the budget ends before the period does."""
    budget = budget_of(tenant)
    if not budget or tenant.budget_mode == BudgetMode.PREPAID:
        return 0
    period = period_of(now.timestamp(), tenant.timezone, tenant.billing_day)
    start = date.fromisoformat(period.name)
    spend = sum((usd for day, usd in days.items() if day >= start), Decimal(0))
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
    return _once(
        tenant,
        AlertKind.FORECAST,
        EventType.FORECAST,
        period_start=start,
        budget=budget,
        spent=spend,
        details=details,
    )


def _spend_of_last_hour(now: datetime) -> dict[int, Decimal]:
    rows = UsageRecord.objects.filter(created_at__gt=now - HOUR, created_at__lte=now)
    sums = rows.values("tenant_id").order_by().annotate(usd=Sum("cost_usd"))
    return {row["tenant_id"]: row["usd"] for row in sums if row["usd"] >= ANOMALY_LEAST_USD}


def _anomaly(tenant: Tenant, days: dict[date, Decimal], spend: Decimal, now: datetime) -> int:
    """Announce unusual spend of the last hour, once a day."""
    today = date.fromisoformat(day_of(now.timestamp(), tenant.timezone).name)
    before = [
        usd for day, usd in days.items() if today - timedelta(days=ANOMALY_DAYS) <= day < today and usd > 0
    ]
    if spend < ANOMALY_LEAST_USD or len(before) < ANOMALY_LEAST_DAYS:
        return 0
    # A day costs at most 24 times its highest hour, so days alone show that most tenants are fine.
    if spend < ANOMALY_FACTOR * max(before) / 24:
        return 0
    usual = _dearest_hour(tenant, now - ANOMALY_DAYS * 24 * HOUR, now - HOUR)
    if spend < ANOMALY_FACTOR * usual:
        return 0
    details = {
        "hour_ends_at": now.isoformat(),
        "spend_usd": str(spend),
        "usual_most_usd": str(usual),
        "rule": f"{ANOMALY_FACTOR} times the most expensive hour of the last {ANOMALY_DAYS} days, or more",
    }
    return _once(
        tenant, AlertKind.ANOMALY, EventType.ANOMALY, period_start=today, spent=spend, details=details
    )


def _dearest_hour(tenant: Tenant, since: datetime, until: datetime) -> Decimal:
    """The most the tenant spent in a clock hour that began from `since` until `until`."""
    rows = UsageRecord.objects.filter(tenant=tenant, created_at__gte=since, created_at__lt=until)
    hours = rows.values(hour=TruncHour("created_at")).order_by().annotate(usd=Sum("cost_usd"))
    return max((row["usd"] for row in hours), default=Decimal(0))


def _once(
    tenant: Tenant,
    kind: AlertKind,
    event_type: EventType,
    *,
    period_start: date,
    spent: Decimal,
    details: Mapping[str, Any],
    budget: Decimal = Decimal(0),
    subject: str = "",
) -> int:
    """Create a `BudgetAlert` and publish its event. Returns 1, or 0 if it exists already."""
    with transaction.atomic():
        alert, new = BudgetAlert.objects.get_or_create(
            tenant=tenant,
            kind=kind,
            subject=subject,
            period_start=period_start,
            threshold=100,
            budget_usd=budget,
            defaults={"spent_usd": spent, "crossed_at": timezone.now(), "details": details},
        )
        if new:
            publish(tenant, event_type, details, key=f"alert:{alert.pk}")
    return int(new)
