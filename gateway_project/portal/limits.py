"""The limits page: each limit, its source, how much of it is used now, and the recent peak."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.db.models import Count, Max, Sum
from django.db.models.functions import TruncMinute
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from billing.ledger.refusal_counts import sums
from billing.models import DailyUsage, UsageRecord
from billing.models.usage_record import TOTAL_TOKENS
from gateway_project.console_kit import formatters
from gateway_project.portal.access import member, page
from tenants.activity import activity
from tenants.models import Membership, Tenant

LIMITS = (
    ("max_requests_per_minute", "Requests per minute"),
    ("max_user_requests_per_minute", "Requests per minute per end user"),
    ("max_concurrency", "Concurrent requests"),
    ("max_tokens_per_day", "Tokens per day"),
    ("user_monthly_budget_usd", "Monthly budget per end user"),
)
LOOKED_BACK = timedelta(hours=24)
DAYS = 30


class LimitLine(msgspec.Struct, frozen=True):
    """One limit as shown. `share` is how many percent of it are used now."""

    name: str
    value: str
    source: str
    now: str
    peak: str
    share: int | None


@member()
def limits(request: HttpRequest, membership: Membership) -> HttpResponse:
    tenant = membership.tenant
    now, peak = _now(tenant), _peaks(tenant)
    models = tenant.allowed_models.filter(enabled=True).order_by("name")
    lines = [_line(tenant, field, name, now.get(field), peak.get(field, "")) for field, name in LIMITS]
    since = timezone.localdate() - timedelta(days=DAYS - 1)
    refused = [each for each in sums(tenant.pk, since=since) if not each.shadow]
    return page(request, membership, "limits", "Limits", lines=lines, models=models, refused=refused)


def _line(tenant: Tenant, field: str, name: str, used: int | None, peak: str) -> LimitLine:
    own, inherited = getattr(tenant, field), getattr(tenant.tier, field)
    limit = inherited if own is None else own
    shown = (
        "unlimited" if limit is None else formatters.usd(limit) if "usd" in field else formatters.count(limit)
    )
    return LimitLine(
        name=name,
        value=shown,
        source="custom" if own is not None else f"tier {tenant.tier.name}",
        now=formatters.count(used),
        peak=peak or formatters.NOTHING,
        share=None
        if used is None
        else formatters.percent(Decimal(used), None if limit is None else Decimal(limit)),
    )


def _now(tenant: Tenant) -> dict[str, int]:
    """What is used of each limit now; empty while the meter is away."""
    found = activity([tenant]).get(tenant.pk)
    if found is None:
        return {}
    return {
        "max_requests_per_minute": found.requests_minute,
        "max_concurrency": found.open_calls,
        "max_tokens_per_day": found.tokens_today,
    }


def _peaks(tenant: Tenant) -> dict[str, str]:
    """The busiest minute of the last 24 hours, by the ledger, and the largest day of the last 30, by the roll-up."""
    rows = UsageRecord.objects.filter(tenant=tenant, created_at__gte=timezone.now() - LOOKED_BACK)
    minutes: Any = rows.annotate(minute=TruncMinute("created_at")).values("minute").order_by()
    busiest = minutes.annotate(calls=Count("request_id")).order_by("-calls").first()
    of_users = minutes.exclude(end_user="").values("minute", "end_user")
    busiest_user = of_users.annotate(calls=Count("request_id")).aggregate(most=Max("calls"))["most"]
    since: date = timezone.localdate() - timedelta(days=DAYS - 1)
    days = DailyUsage.objects.filter(tenant=tenant, day__gte=since).values("day").order_by()
    largest = days.annotate(tokens=Sum(TOTAL_TOKENS)).order_by("-tokens").first()
    found = {}
    if busiest:
        found["max_requests_per_minute"] = (
            f"{formatters.count(busiest['calls'])} at {timezone.localtime(busiest['minute']):%H:%M} (last 24 h)"
        )
    if busiest_user:
        found["max_user_requests_per_minute"] = f"{formatters.count(busiest_user)} (last 24 h)"
    if largest:
        found["max_tokens_per_day"] = f"{formatters.short_count(largest['tokens'])} on {largest['day']:%d %b}"
    return found
