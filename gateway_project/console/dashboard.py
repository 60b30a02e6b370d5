"""The dashboard: what is spent, by whom, and what needs attention. Reads roll-ups, never the ledger."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import msgspec
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db.models import (
    Aggregate,
    BigIntegerField,
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
from django.utils import timezone
from django.utils.safestring import SafeString

from billing.events import OVERRAN
from billing.ledger.histogram import percentile
from billing.meter.overruns import recent_overruns
from billing.models import DailyTotal, DailyVerdict, DriftReport, PeriodUsage, UsageStatus, WebhookEndpoint
from billing.statements.closing import periods_overdue
from billing.unreadable_secrets import unreadable_secrets
from gateway_project.console.first_steps import first_call, first_steps
from gateway_project.console_kit import formatters
from gateway_project.console_kit.charts import Point, bars_by_day
from gateway_project.ground.breaker_board import breaker_states
from gateway_project.ground.presence import process_states
from tenants.models import Tenant, TenantStatus
from tenants.policy import BudgetMode
from tenants.spend import budget, period_start

DAYS = 30  # in the charts
WEEK = timedelta(days=7)
LISTED = 5  # rows of a ranking
NEAR_SHARE = Decimal("0.8")  # of a budget


class SumCounts(Aggregate):
    """The sum of histograms, bucket by bucket."""

    function = "billing_sum_counts"
    output_field = ArrayField(BigIntegerField())


class Totals(msgspec.Struct, frozen=True):
    """The sums of one day over all tenants, whose local days are added up by date."""

    day: date
    cost_usd: Decimal = Decimal(0)
    requests: int = 0
    faults: int = 0
    latency: list[int] | None = None
    ttft: list[int] | None = None


class Tile(msgspec.Struct, frozen=True):
    """One number with its title. `level` is fine, near or high."""

    title: str
    value: str
    note: str = ""
    level: str = "fine"
    link: str = ""
    bar: SafeString = SafeString("")


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
    days = _totals(since=min(month, today - timedelta(days=DAYS - 1)), until=today)
    drawn = days[-DAYS:]
    near_count, closest = _closest_to_their_budget(today)
    context |= {
        "title": "Dashboard",
        "dashboard": True,
        "first_steps": first_steps() if request.user.has_perm("tenants.add_tenant") else [],
        "first_call": first_call(settings.PUBLIC_URL),
        "month": f"{today:%B %Y}",
        "usage_tiles": _usage_tiles(days, month=month, budgets=_budgets()),
        "attention_tiles": _attention_tiles(near_count),
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


def _totals(*, since: date, until: date) -> list[Totals]:
    """Every day from `since` to `until`, including those without usage."""
    rows = (
        DailyTotal.objects.filter(day__gte=since, day__lte=until)
        .order_by()
        .values("day")
        .annotate(
            total_cost=Sum("cost_usd"),
            total_requests=Sum("requests"),
            faults=Sum("requests", filter=Q(status=UsageStatus.UPSTREAM_ERROR), default=0),
            # Shown for a week only, and expensive to add up.
            latency=SumCounts("latency_buckets", filter=Q(day__gt=until - WEEK)),
            ttft=SumCounts("ttft_buckets", filter=Q(day__gt=until - WEEK)),
        )
    )
    known = {
        row["day"]: Totals(
            day=row["day"],
            cost_usd=row["total_cost"],
            requests=row["total_requests"],
            faults=row["faults"],
            latency=row["latency"],
            ttft=row["ttft"],
        )
        for row in rows
    }
    every = (since + timedelta(days=n) for n in range((until - since).days + 1))
    return [known.get(day) or Totals(day=day) for day in every]


def _usage_tiles(days: list[Totals], *, month: date, budgets: Decimal | None) -> list[Tile]:
    today, yesterday = days[-1], days[-2]
    this_month = [day for day in days if day.day >= month]
    spent = sum((day.cost_usd for day in this_month), Decimal(0))
    week = days[-7:]
    requests, faults = sum(day.requests for day in week), sum(day.faults for day in week)
    fault_share = faults * 100 / requests if requests else 0
    return [
        Tile(
            "Spend today",
            formatters.short_usd(today.cost_usd),
            f"{formatters.short_usd(yesterday.cost_usd)} yesterday",
        ),
        Tile(
            "This month",
            formatters.short_usd(spent),
            f"{'of ' + formatters.short_usd(budgets) + ', ' if budgets else ''}{_pace(spent, this_month[-1].day)}",
            bar=formatters.bar(spent=spent, budget=budgets),
        ),
        Tile(
            "Requests today",
            formatters.short_count(today.requests),
            f"{formatters.short_count(yesterday.requests)} yesterday",
        ),
        Tile(
            "Errors, 7 days",
            f"{fault_share:.2f}%",
            f"{formatters.short_count(faults)} of {formatters.short_count(requests)} calls",
            level="high" if fault_share > 5 else "near" if fault_share > 1 else "fine",
        ),
        _refusal_tile(requests, since=week[0].day, until=today.day),
        _latency_tile("Latency", (day.latency for day in week)),
        _latency_tile("First token", (day.ttft for day in week)),
    ]


def _refusal_tile(served: int, *, since: date, until: date) -> Tile:
    """The share of all requests that a limit, a budget or a policy refused, and the most frequent reason."""
    verdicts = DailyVerdict.objects.filter(day__gte=since, day__lte=until, shadow=False)
    reasons = list(verdicts.order_by().values("code").annotate(total=Sum("requests")).order_by("-total"))
    refused = sum(row["total"] for row in reasons)
    note = "no requests refused"
    if reasons:
        note = f"{formatters.short_count(refused)}, mostly “{formatters.refusal(reasons[0]['code'])}”"
    total = served + refused
    return Tile("Refused, 7 days", f"{refused * 100 / total if total else 0:.2f}%", note)


def _pace(spent: Decimal, today: date) -> str:
    """The month's spend at the pace so far."""
    following = (today.replace(day=28) + timedelta(days=4)).replace(day=1)
    length = (following - timedelta(days=1)).day
    return f"on pace for {formatters.short_usd(spent * length / today.day)}"


def _latency_tile(title: str, histograms: Iterable[list[int] | None]) -> Tile:
    measured = [counts for counts in histograms if counts]
    if not measured:
        return Tile(title, formatters.NOTHING, "no data in the last 7 days")
    summed = [sum(column) for column in zip(*measured, strict=True)]
    values = ", ".join(formatters.milliseconds(percentile(summed, share)) for share in (50, 95))
    return Tile(title, values, "p50 and p95, 7 days")


def _attention_tiles(near: int) -> list[Tile]:
    suspended = Tenant.objects.filter(deleted_at=None, status=TenantStatus.SUSPENDED).count()
    failing = WebhookEndpoint.objects.filter(Q(failing_since__isnull=False) | Q(enabled=False)).count()
    drifted = DriftReport.objects.filter(ok=False, checked_at__gte=timezone.now() - timedelta(days=1)).count()
    overran = recent_overruns()
    breakers = breaker_states()
    overdue = periods_overdue()
    tenants = reverse("admin:tenants_tenant_changelist")
    return [
        Tile(
            "Tenants near their budget",
            formatters.count(near),
            f"{suspended} suspended",
            level="near" if near else "fine",
            link=f"{tenants}?budget=80",
        ),
        Tile(
            "Failing webhooks",
            formatters.count(failing),
            "failing or disabled",
            level="high" if failing else "fine",
            link=reverse("admin:billing_webhookendpoint_changelist"),
        ),
        Tile(
            "Ledger mismatches, 24 h",
            formatters.count(drifted),
            "ledger, roll-up and meter",
            level="high" if drifted else "fine",
            link=f"{reverse('admin:billing_driftreport_changelist')}?ok__exact=0",
        ),
        Tile(
            "Overdue periods",
            formatters.count(overdue),
            "ended over an hour ago but not closed; check the worker log"
            if overdue
            else "all ended periods are closed",
            level="high" if overdue else "fine",
            link=reverse("admin:billing_statement_changelist"),
        ),
        Tile(
            "Calls over their reservation, 2 days",
            formatters.count(overran.calls),
            f"over by {formatters.short_usd(overran.usd)}"
            if overran.calls
            else "no calls cost more than reserved",
            level="near" if overran.calls else "fine",
            link=f"{reverse('admin:billing_usagerecord_changelist')}?note__startswith={quote(OVERRAN)}",
        ),
        Tile(
            "Upstream circuit breakers",
            "closed" if not breakers else formatters.count(len(breakers)),
            ", ".join(f"{name} {state}" for name, state in sorted(breakers.items())[:3]) or "all closed",
            level="high" if breakers else "fine",
            link=reverse("admin:routing_model_changelist"),
        ),
        _process_tile(),
        *_secret_tiles(),
    ]


def _secret_tiles() -> list[Tile]:
    """Tiles for unreadable secrets, shown only if there are any."""
    found = unreadable_secrets()
    if not found:
        return []
    return [
        Tile(
            "Unreadable secrets",
            formatters.count(len(found)),
            f"{', '.join(found[:2])}: their key is missing from SECRETS_KEYS",
            level="high",
            link=reverse("admin:billing_webhookendpoint_changelist"),
        )
    ]


def _process_tile() -> Tile:
    """Which of web, ledger, worker and beat have not been heard of recently."""
    states = process_states()
    missing = [kind for kind, state in states.items() if state != "ok"]
    if "unknown" in states.values():
        return Tile("Processes", "unknown", "Redis is not responding", level="high")
    return Tile(
        "Processes",
        f"{len(states) - len(missing)} of {len(states)}",
        f"no {' and no '.join(missing)} is running" if missing else f"{', '.join(states)} are running",
        level="high" if missing else "fine",
    )


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
