"""The first page, limits, and how to begin."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from billing.models import BudgetAlert, DailyUsage
from billing.periods import day_of, period_of
from billing.spend import budget_of, current_spend
from gateway_project.console import cells
from gateway_project.console.charts import Point, bars_by_day
from gateway_project.policy_changes import store
from gateway_project.portal.access import member, page
from gateway_project.redis_address import STORE_ERRORS
from gateway_project.shards import tenant_key
from tenants.models import Membership, Tenant

DAYS = 30
LIMITS = (
    ("max_requests_per_minute", "Requests a minute"),
    ("max_user_requests_per_minute", "Requests a minute of one end user"),
    ("max_concurrency", "Calls at once"),
    ("max_tokens_per_day", "Tokens a day"),
    ("user_monthly_budget_usd", "Budget of one end user, a month"),
)


@member()
def overview(request: HttpRequest, membership: Membership) -> HttpResponse:
    tenant = membership.tenant
    spent, budget = current_spend([tenant])[tenant.pk], budget_of(tenant)
    today = timezone.now().astimezone(ZoneInfo(tenant.timezone)).date()
    days: dict[Any, dict[str, Any]] = {
        row["day"]: dict(row)
        for row in DailyUsage.objects.filter(tenant=tenant, day__gt=today - timedelta(days=DAYS))
        .values("day")
        .order_by("day")
        .annotate(cost=Sum("cost_usd"), calls=Sum("requests"))
    }
    shown = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    costs = [days.get(day, {}).get("cost") or Decimal(0) for day in shown]
    points = [Point(day, cost, cells.short_usd(cost)) for day, cost in zip(shown, costs, strict=True)]
    return page(
        request,
        membership,
        "overview",
        "Overview",
        spent=cells.short_usd(spent),
        budget=cells.short_usd(budget),
        remaining=cells.short_usd(None if budget is None else max(Decimal(0), budget - spent)),
        percent=cells.percent(spent, budget),
        bar=cells.budget_bar(spent=spent, budget=budget),
        forecast=forecast(tenant, spent=spent, budget=budget),
        requests_today=cells.count(days.get(today, {}).get("calls") or 0),
        chart=bars_by_day(points, title="Spend by day", top=cells.short_usd(max(costs))),
        alerts=BudgetAlert.objects.filter(tenant=tenant).order_by("-created_at")[:5],
    )


def forecast(tenant: Tenant, *, spent: Decimal, budget: Decimal | None) -> str:
    """Where this period ends at its pace so far, in words."""
    if tenant.budget_mode == "prepaid":
        return "A balance that does not reset."
    period = period_of(timezone.now().timestamp(), tenant.timezone, tenant.billing_day)
    passed = Decimal(int(timezone.now().timestamp()) - period.start) / (period.end - period.start)
    if not spent or passed < Decimal("0.02"):
        return "Too early in the period to tell."
    expected = spent / passed
    if budget and expected > budget:
        seconds = int((period.end - period.start) * (budget / spent) * passed)
        day = datetime.fromtimestamp(period.start + seconds, UTC).astimezone(ZoneInfo(tenant.timezone))
        return f"At this pace the budget ends on {day:%d %B}."
    return f"At this pace the period ends at {cells.short_usd(expected)}."


@member()
def limits(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Each limit, where it comes from, and how much of it is used now."""
    tenant = membership.tenant
    used = _used_now(tenant)
    rows = []
    for field, name in LIMITS:
        own, inherited = getattr(tenant, field), getattr(tenant.tier, field)
        value = inherited if own is None else own
        shown = "unlimited" if value is None else cells.usd(value) if "usd" in field else cells.count(value)
        source = "your own" if own is not None else f"tier {tenant.tier.name}"
        rows.append((name, shown, cells.count(used.get(field)), source))
    models = tenant.allowed_models.filter(enabled=True).order_by("name")
    return page(request, membership, "limits", "Limits", rows=rows, models=models)


def _used_now(tenant: Tenant) -> dict[str, int]:
    """What the next call would meet; empty while the meter is away."""
    place = tenant_key(tenant.pk)
    now = timezone.now().timestamp()
    day = day_of(now, tenant.timezone)
    try:
        with store().pipeline(transaction=False) as pipeline:
            pipeline.zcount(f"{place}:rpm", int((now - 60) * 1_000_000), "+inf")
            pipeline.hlen(f"{place}:leases")
            pipeline.hget(f"{place}:d:{day.name}", "tokens")
            minute, open_calls, tokens = pipeline.execute()
    except STORE_ERRORS:
        return {}
    return {
        "max_requests_per_minute": minute,
        "max_concurrency": open_calls,
        "max_tokens_per_day": int(tokens or 0),
    }


@member()
def quickstart(request: HttpRequest, membership: Membership) -> HttpResponse:
    model = membership.tenant.allowed_models.filter(enabled=True).order_by("name").first()
    context: dict[str, Any] = {
        "base": f"{request.scheme}://{request.get_host()}",
        "model": model.name if model else "auto",
    }
    return page(request, membership, "quickstart", "Quickstart", **context)
