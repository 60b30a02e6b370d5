"""What a tenant's page shows besides its settings: current limits, the month as charts, the latest calls."""

from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from django.db.models import Sum
from django.utils import timezone
from django.utils.safestring import SafeString

from gateway_project.console_kit import formatters
from gateway_project.console_kit.charts import Point, bars_by_day
from tenants.activity import activity
from tenants.models import Tenant
from tenants.spend import forecast

if TYPE_CHECKING:
    from tenants.spend import SpendingTenant

DAYS = 30
RECENT = 8  # calls, endpoints


class Gauge(msgspec.Struct, frozen=True):
    """How much of one limit is used now."""

    title: str
    used: str
    limit: str
    bar: SafeString


def insight(tenant: "SpendingTenant", *, ledger: bool, webhooks: bool) -> dict[str, Any]:
    """Template values. The latest calls and the webhooks only for people who may see them."""
    today = timezone.now().date()
    since = today - timedelta(days=DAYS - 1)
    usage: Any = tenant.daily_usage.filter(day__gte=since).order_by()
    sums = {"cost": Sum("cost_usd"), "calls": Sum("requests")}
    days = {row["day"]: row for row in usage.values("day").annotate(**sums)}
    points = [
        _point(day, days.get(day, {"cost": Decimal(0), "calls": 0}))
        for day in (since + timedelta(days=n) for n in range(DAYS))
    ]
    highest = max(point.value for point in points)
    return {
        "spend": formatters.budget_bar(
            spent=tenant.spent_usd,
            budget=tenant.budget_usd,
            forecast=forecast(tenant, spent=tenant.spent_usd, period=tenant.period),
        ),
        "gauges": _gauges(tenant),
        "chart": bars_by_day(points, title="Spend by day", top=formatters.short_usd(highest)),
        "models": usage.values("model").annotate(**sums).order_by("-cost")[:5],
        "calls": tenant.usage.order_by("-created_at")[:RECENT] if ledger else [],
        "endpoints": tenant.webhooks.order_by("-created_at")[:RECENT] if webhooks else None,
    }


def _gauges(tenant: Tenant) -> list[Gauge]:
    now = activity([tenant]).get(tenant.pk)
    used = (now.requests_minute, now.open_calls, now.tokens_today) if now else (None, None, None)
    return [
        _gauge(title, value, _limit(tenant, field))
        for (title, field), value in zip(
            (
                ("Requests, last minute", "max_requests_per_minute"),
                ("Open calls", "max_concurrency"),
                ("Tokens today", "max_tokens_per_day"),
            ),
            used,
            strict=True,
        )
    ]


def _gauge(title: str, used: int | None, limit: int | None) -> Gauge:
    return Gauge(
        title=title,
        used=formatters.short_count(used),
        limit="no limit" if limit is None else f"of {formatters.short_count(limit)}",
        bar=formatters.bar(spent=Decimal(used or 0), budget=None if limit is None else Decimal(limit)),
    )


def _limit(tenant: Tenant, field: str) -> int | None:
    own: int | None = getattr(tenant, field)
    return getattr(tenant.tier, field) if own is None else own


def _point(day: date, row: dict[str, Any]) -> Point:
    shown = f"{formatters.short_usd(row['cost'])}, {formatters.count(row['calls'])} requests"
    return Point(day=day, value=row["cost"], shown=shown)
