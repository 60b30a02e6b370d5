"""The dashboard's tiles: one number each, with a level that says whether it needs attention."""

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from urllib.parse import quote

import msgspec
from django.db.models import Q, Sum
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from billing.events import OVERRAN
from billing.ledger.histogram import percentile
from billing.meter.overruns import recent_overruns
from billing.models import DailyVerdict, DriftReport, WebhookEndpoint
from billing.statements.closing import periods_overdue
from billing.unreadable_secrets import unreadable_secrets
from gateway_project.console.daily_totals import Totals
from gateway_project.console_kit import formatters
from gateway_project.ground.breaker_board import breaker_states
from gateway_project.ground.presence import process_states
from tenants.models import Tenant, TenantStatus


class Tile(msgspec.Struct, frozen=True):
    """One number with its title. `level` is fine, near or high."""

    title: str
    value: str
    note: str = ""
    level: str = "fine"
    link: str = ""
    bar: SafeString = SafeString("")


def usage_tiles(days: list[Totals], *, month: date, budgets: Decimal | None) -> list[Tile]:
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


def attention_tiles(near: int) -> list[Tile]:
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
