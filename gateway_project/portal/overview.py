"""The portal's first page: spend against the budget, its pace, and what it was for."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from billing.meter.current_spend import budget_of, current_spend
from billing.models import BudgetAlert, DailyUsage
from billing.models.usage_record import TOTAL_TOKENS
from gateway_project.console_kit import formatters
from gateway_project.portal.access import member, page
from gateway_project.portal.decisions import decisions
from tenants.models import Membership, Tenant
from tenants.periods import next_period, period_of
from tenants.spend import forecast

LISTED = 5


@member()
def overview(request: HttpRequest, membership: Membership) -> HttpResponse:
    tenant = membership.tenant
    spent, budget = current_spend([tenant])[tenant.pk], budget_of(tenant)
    period = _period(tenant)
    today = timezone.localdate()
    ends = next_period(period, billing_day=tenant.billing_day)
    expected = forecast(tenant, spent=spent, period=period)
    days = _days(tenant, since=period)
    models = _models(tenant, since=period)
    now = days.get(today, {})
    return page(
        request,
        membership,
        "overview",
        "Overview",
        spent=spent,
        budget=budget,
        remaining=None if budget is None else max(Decimal(0), budget - spent),
        bar=formatters.bar(spent=spent, budget=budget),
        percent=formatters.percent(spent, budget),
        pace=pace(tenant, spent=spent, budget=budget, expected=expected, period=period),
        period=(period, ends - timedelta(days=1), (ends - today).days),
        requests_today=now.get("calls") or 0,
        tokens_today=now.get("tokens") or 0,
        cost_today=now.get("cost") or Decimal(0),
        chart=_burn_up(days, period=period, ends=ends, budget=budget, expected=expected),
        models=[(row, int(row["cost"] * 100 / (models[0]["cost"] or 1))) for row in models],
        decisions=decisions(tenant, today=today),
        alerts=BudgetAlert.objects.filter(tenant=tenant).order_by("-crossed_at")[:LISTED],
        idle=not days and not DailyUsage.objects.filter(tenant=tenant).exists(),
    )


def pace(
    tenant: Tenant, *, spent: Decimal, budget: Decimal | None, expected: Decimal | None, period: date
) -> str:
    """Where the spend of this period is heading, in words."""
    if tenant.budget_mode == "prepaid":
        return "Your prepaid balance does not reset."
    if budget is not None and spent >= budget:
        return "The budget is used up."
    if expected is None:
        return "It is too early in the period for a forecast."
    if budget and expected > budget:
        length = (next_period(period, billing_day=tenant.billing_day) - period).days
        ends = period + timedelta(days=int(length * budget / expected))
        return f"At the current pace, the budget runs out on {ends.day} {ends:%B}."
    return f"At the current pace, {formatters.short_usd(expected)} by the end of the period."


def _period(tenant: Tenant) -> date:
    now = timezone.now().timestamp()
    return date.fromisoformat(period_of(now, tenant.timezone, tenant.billing_day).name)


def _days(tenant: Tenant, *, since: date) -> dict[date, dict[str, Any]]:
    rows = DailyUsage.objects.filter(tenant=tenant, day__gte=since).values("day").order_by()
    sums = {"cost": Sum("cost_usd"), "calls": Sum("requests"), "tokens": Sum(TOTAL_TOKENS)}
    return {row["day"]: dict(row) for row in rows.annotate(**sums)}


def _models(tenant: Tenant, *, since: date) -> list[dict[str, Any]]:
    rows = DailyUsage.objects.filter(tenant=tenant, day__gte=since).values("model").order_by()
    ranked = rows.annotate(cost=Sum("cost_usd"), calls=Sum("requests")).order_by("-cost")[:LISTED]
    return [dict(row) for row in ranked]


def _burn_up(
    days: dict[date, dict[str, Any]],
    *,
    period: date,
    ends: date,
    budget: Decimal | None,
    expected: Decimal | None,
) -> dict[str, Any]:
    """Data for portal.js: the cumulative spend, its extrapolation to the period's end, and the budget."""
    every = [period + timedelta(days=n) for n in range((ends - period).days)]
    today = timezone.localdate()
    total, spent = Decimal(0), []
    for day in every:
        total += days.get(day, {}).get("cost") or 0
        spent.append(total if day <= today else None)
    lines = [{"name": "Spent", "look": "spent", "values": spent}]
    if expected is not None and (left := (every[-1] - today).days) > 0:
        ahead = [
            total + (expected - total) * (day - today).days / left if day >= today else None for day in every
        ]
        lines.append({"name": "Forecast", "look": "pace", "values": ahead})
    if budget is not None:
        lines.append({"name": "Budget", "look": "budget", "values": [budget] * len(every)})
    return {"kind": "lines", "unit": "usd", "days": every, "series": lines}
