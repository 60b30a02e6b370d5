"""Usage by day, model, key and end user; single requests with their receipts; the rows as CSV."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Count, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone

from billing import exports
from billing.models import DailyUsage, UsageRecord
from billing.rebuild import TOKENS
from billing.request_ids import created_at
from gateway_project.console import cells
from gateway_project.portal.access import member, page
from gateway_project.streamed import streamed
from tenants.models import Membership, Tenant

LISTED = 50
DAYS = 30
# A tenant sees what it is charged, never what its provider pays.
COLUMNS = tuple(name for name in exports.DEFAULT_COLUMNS if name != "upstream_cost_usd")


@member()
def usage(request: HttpRequest, membership: Membership) -> HttpResponse:
    tenant = membership.tenant
    since, until = span(request, tenant)
    days = DailyUsage.objects.filter(tenant=tenant, day__gte=since, day__lte=until)
    rows = UsageRecord.objects.filter(tenant=tenant, day__gte=since, day__lte=until)
    tag = request.GET.get("tag", "").strip()[:64]
    tables = [
        ("Day", _grouped(days, "day", newest=True)),
        ("Model", _grouped(days, "model")),
        ("Key", _grouped(days, "api_key__name")),
        ("End user", _counted(rows.exclude(end_user=""), "end_user")),
    ]
    if tag:
        tables.append((f"Tag {tag}", _counted(rows.filter(tags__has_key=tag), f"tags__{tag}")))
    total = days.aggregate(cost=Sum("cost_usd"), calls=Sum("requests"), tokens=Sum(TOKENS))
    context = {"tables": tables, "since": since, "until": until, "tag": tag}
    return page(request, membership, "usage", "Usage", **context, **_shown(total))


@member()
def usage_csv(request: HttpRequest, membership: Membership) -> HttpResponseBase:
    tenant = membership.tenant
    since, until = span(request, tenant)
    zone = ZoneInfo(tenant.timezone)
    wanted = exports.Filter(
        tenant=tenant.slug,
        since=datetime.combine(since, time.min, tzinfo=zone).astimezone(UTC),
        until=datetime.combine(until + timedelta(days=1), time.min, tzinfo=zone).astimezone(UTC),
    )
    export = exports.begin(wanted, columns=COLUMNS, zone=tenant.timezone, created_by=request.user)
    return streamed(
        request,
        lambda: exports.pieces(export),
        content_type=exports.CONTENT_TYPES["csv"],
        filename=f"{tenant.slug}-{since}-{until}.csv",
    )


@member()
def requests(request: HttpRequest, membership: Membership) -> HttpResponse:
    rows = UsageRecord.objects.filter(tenant=membership.tenant).select_related("api_key")
    if status := request.GET.get("status", ""):
        rows = rows.filter(status=status)
    if before := _before(request):
        rows = rows.filter(created_at__lt=before)
    listed = list(rows.order_by("-created_at")[: LISTED + 1])
    older = listed[LISTED - 1].created_at.isoformat() if len(listed) > LISTED else ""
    return page(request, membership, "requests", "Requests", rows=listed[:LISTED], older=older, status=status)


@member()
def receipt(request: HttpRequest, membership: Membership, request_id: UUID) -> HttpResponse:
    row = (
        UsageRecord.objects.filter(
            request_id=request_id, created_at=created_at(str(request_id)), tenant=membership.tenant
        )
        .select_related("api_key")
        .first()
    )
    if row is None:
        raise Http404
    return page(request, membership, "receipt", "Receipt", row=row)


def span(request: HttpRequest, tenant: Tenant) -> tuple[date, date]:
    """The days asked for, both included; the last thirty where they are missing or make no sense."""
    today = timezone.now().astimezone(ZoneInfo(tenant.timezone)).date()
    since, until = _day(request, "since"), _day(request, "until")
    until = until or today
    since = since or until - timedelta(days=DAYS - 1)
    return (since, until) if since <= until else (until, since)


def _day(request: HttpRequest, name: str) -> date | None:
    try:
        return date.fromisoformat(request.GET.get(name, ""))
    except ValueError:
        return None


def _before(request: HttpRequest) -> datetime | None:
    try:
        moment = datetime.fromisoformat(request.GET.get("before", ""))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _grouped(days: QuerySet[DailyUsage], field: str, *, newest: bool = False) -> list[dict[str, Any]]:
    totals = days.values(field).order_by()
    totals = totals.annotate(cost=Sum("cost_usd"), calls=Sum("requests"), tokens=Sum(TOKENS))
    totals = totals.order_by("-day" if newest else "-cost")
    return [{"name": row[field] or "–", **_shown(row)} for row in totals[:LISTED]]


def _counted(rows: QuerySet[UsageRecord], field: str) -> list[dict[str, Any]]:
    totals = rows.values(field).order_by()
    totals = totals.annotate(cost=Sum("cost_usd"), calls=Count("request_id"), tokens=Sum(TOKENS))
    totals = totals.order_by("-cost")
    return [{"name": row[field], **_shown(row)} for row in totals[:LISTED]]


def _shown(row: Any) -> dict[str, str]:
    return {
        "cost": cells.usd(row["cost"] or Decimal(0)),
        "calls": cells.count(row["calls"] or 0),
        "tokens": cells.count(row["tokens"] or 0),
    }
