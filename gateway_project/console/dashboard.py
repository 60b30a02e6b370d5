"""The dashboard: what is spent, by whom, and what needs attention. Reads roll-ups, never the ledger."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.conf import settings
from django.db.models import (
    Count,
    DecimalField,
    ExpressionWrapper,
    F,
    Q,
    QuerySet,
    Sum,
    Window,
)
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from billing.models import DailyTotal, PeriodUsage
from gateway_project.console.daily_totals import Totals, daily_totals
from gateway_project.console.first_steps import first_call, first_steps
from gateway_project.console.tiles import attention_tiles, usage_tiles
from gateway_project.console_kit import formatters
from gateway_project.console_kit.charts import Point, bars_by_day
from tenants.models import Tenant, TenantStatus
from tenants.policy import BudgetMode
from tenants.spend import budget, period_start

DAYS = 30  # in the charts
LISTED = 5  # rows of a ranking
NEAR_SHARE = Decimal("0.8")  # of a budget


class RankingRow(msgspec.Struct, frozen=True):
    """One row of a ranking; `share` is in percent of the first row."""

    name: str
    link: str
    value: str
    note: str
    share: int


class Near(msgspec.Struct, frozen=True):
    """A tenant close to its budget."""

    name: str
    link: str
    bar: SafeString


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's callback: add to the index page what this person may see."""
    if not request.user.has_perm("billing.view_dailyusage"):
        return context
    today = datetime.now(UTC).date()
    month = today.replace(day=1)
    days = daily_totals(since=min(month, today - timedelta(days=DAYS - 1)), until=today)
    drawn = days[-DAYS:]
    near_count, closest = _closest_to_their_budget(today)
    context |= {
        "title": "Dashboard",
        "dashboard": True,
        "first_steps": first_steps() if request.user.has_perm("tenants.add_tenant") else [],
        "first_call": first_call(settings.PUBLIC_URL),
        "month": f"{today:%B %Y}",
        "usage_tiles": usage_tiles(days, month=month, budgets=_budgets()),
        "attention_tiles": attention_tiles(near_count),
        "spend_chart": _chart(drawn, "cost_usd", title="Spend by day"),
        "request_chart": _chart(drawn, "requests", title="Requests by day"),
        "top_tenants": _top_tenants(today),
        "top_models": _top_models(since=month),
        "closest": closest,
    }
    return context


def _current(today: date) -> QuerySet[Any]:
    """What each tenant has spent in its current period: one row for each that has spent anything."""
    return PeriodUsage.objects.filter(
        tenant__deleted_at=None,
        period_start__gt=today - timedelta(days=32),
        period_start=period_start(of="tenant__"),
    ).annotate(tenant_name=F("tenant__name"), budget_usd=budget(of="tenant__"))


def _closest_to_their_budget(today: date) -> tuple[int, list[Near]]:
    """How many tenants have spent 80 % of their budget or more, and those with the highest percentages."""
    share = ExpressionWrapper(F("cost_usd") / F("budget_usd"), output_field=DecimalField())
    ranked = _current(today).filter(budget_usd__gt=0, cost_usd__gt=0).annotate(share=share)
    near = Window(Count("pk", filter=Q(share__gte=NEAR_SHARE)))
    rows = list(ranked.annotate(near=near).order_by("-share")[:LISTED])
    listed = [
        Near(
            name=row.tenant_name,
            link=reverse("admin:tenants_tenant_change", args=[row.tenant_id]),
            bar=formatters.budget_bar(spent=row.cost_usd, budget=row.budget_usd),
        )
        for row in rows
    ]
    return (rows[0].near if rows else 0), listed


def _budgets() -> Decimal | None:
    """The sum of the monthly budgets of all active tenants. Prepaid and unlimited ones have none."""
    active = Tenant.objects.filter(deleted_at=None, status=TenantStatus.ACTIVE)
    monthly = active.exclude(budget_mode=BudgetMode.PREPAID).annotate(budget_usd=budget())
    total: Decimal | None = monthly.aggregate(total=Sum("budget_usd"))["total"]
    return total


def _chart(days: list[Totals], field: str, *, title: str) -> SafeString:
    read = formatters.short_usd if field == "cost_usd" else formatters.short_count
    points = [
        Point(day=day.day, value=Decimal(getattr(day, field)), shown=read(getattr(day, field)))
        for day in days
    ]
    return bars_by_day(points, title=title, top=max(points, key=lambda point: point.value).shown)


def _top_tenants(today: date) -> list[RankingRow]:
    return _ranked(
        (
            row.tenant_name,
            reverse("admin:tenants_tenant_change", args=[row.tenant_id]),
            row.cost_usd,
            row.requests,
        )
        for row in _current(today).order_by("-cost_usd")[:LISTED]
    )


def _top_models(*, since: date) -> list[RankingRow]:
    rows = (
        DailyTotal.objects.filter(day__gte=since)
        .order_by()
        .values("model")
        .annotate(cost=Sum("cost_usd"), calls=Sum("requests"))
        .order_by("-cost")[:LISTED]
    )
    usage = reverse("admin:billing_usagerecord_changelist")
    return _ranked((row["model"], f"{usage}?model={row['model']}", row["cost"], row["calls"]) for row in rows)


def _ranked(rows: Iterable[tuple[str, str, Decimal, int]]) -> list[RankingRow]:
    listed = list(rows)
    first = (listed[0][2] if listed else Decimal(0)) or Decimal(1)
    return [
        RankingRow(
            name,
            link,
            formatters.short_usd(cost),
            f"{formatters.short_count(calls)} requests",
            int(cost * 100 / first),
        )
        for name, link, cost, calls in listed
    ]
