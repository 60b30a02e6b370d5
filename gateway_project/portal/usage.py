"""Usage by day, model, key and end user; single requests with their receipts; the rows as CSV."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.db.models import Count, F, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone

from billing.exports import export as exports
from billing.ledger import tag_usage
from billing.models import DailyUsage, UsageRecord, UsageStatus
from billing.models.usage_record import TOTAL_TOKENS
from billing.request_ids import created_at
from gateway_project.ground.streamed import streamed
from gateway_project.portal.access import member, page
from gateway_project.portal.page_query import PageQuery
from tenants.models import Membership, Tenant

LISTED = 50
DAYS = 30
MOST_DAYS = 366
DRAWN = 5  # models with their own colour in the chart
MEASURES = {"cost": "Cost", "calls": "Requests", "tokens": "Tokens"}
# A tenant sees what it is charged, never what its provider pays.
COLUMNS = tuple(name for name in exports.DEFAULT_COLUMNS if name != "upstream_cost_usd")


@member()
def usage(request: HttpRequest, membership: Membership) -> HttpResponse:
    tenant, query = membership.tenant, PageQuery(request.GET)
    since, until = span(query, tenant)
    if since < (earliest := until - timedelta(days=MOST_DAYS - 1)):
        query.faults.append(f"At most {MOST_DAYS} days can be shown at once. Choose a shorter range.")
        since = earliest
    rows = UsageRecord.objects.filter(tenant=tenant, day__gte=since, day__lte=until)
    tag = query.tag("tag")
    name, equals, value = tag.partition("=")
    days, tokens = _days(tenant, since=since, until=until), cast("Any", TOTAL_TOKENS)
    if equals:  # only calls with this tag
        days, tokens = tag_usage.rows_of(tenant.pk, since=since, until=until), F("tokens")
        days = days.filter(name=name, value=value)
        rows = tag_usage.tagged(rows, tag)
    measure = query.choice("show", MEASURES, default="cost", called="chart of")
    if query.faults:
        days, rows = days.none(), rows.none()
    tables = [
        ("Model", _grouped(days, "model", tokens)),
        ("Key", [] if equals else _grouped(days, "api_key__name", tokens)),
        ("End user", _counted(rows.exclude(end_user=""), "end_user")),
        ("Day", _grouped(days, "day", tokens, newest=True)),
    ]
    if name and not equals:
        values = tag_usage.rows_of(tenant.pk, since=since, until=until).filter(name=name)
        if not query.faults and not values.exists():
            query.faults.append(f"No request in this range has the tag {name!r}.")
        tables.insert(0, (f"Tag {name}", _grouped(values, "value", F("tokens"))))
    return page(
        request,
        membership,
        "usage",
        "Usage",
        faults=query.faults,
        tables=tables,
        since=since,
        until=until,
        tag=tag,
        tags=tag_usage.names(tenant.pk, since=since, until=until),
        measure=measure,
        measures=MEASURES,
        chart=_by_model(days, tokens, measure=measure, since=since, until=until),
        total=days.aggregate(
            cost=Coalesce(Sum("cost_usd"), Decimal(0)), calls=Sum("requests"), tokens=Sum(tokens)
        ),
    )


def _days(tenant: Tenant, *, since: date, until: date) -> QuerySet[Any]:
    return DailyUsage.objects.filter(tenant=tenant, day__gte=since, day__lte=until)


def _by_model(days: QuerySet[Any], tokens: Any, *, measure: str, since: date, until: date) -> dict[str, Any]:
    """Data for portal.js: stacked bars for each day, with the other models summed below the most expensive ones."""
    every = [since + timedelta(days=n) for n in range((until - since).days + 1)]
    totals: Any = days.values("day", "model").order_by()
    totals = totals.annotate(cost=Sum("cost_usd"), calls=Sum("requests"), tokens=Sum(tokens))
    found: dict[str, dict[date, Any]] = {}
    for row in totals:
        found.setdefault(row["model"], {})[row["day"]] = row[measure]
    ranked = sorted(found, key=lambda model: -sum(found[model].values()))
    series = [_series(model, [found[model]], every) for model in ranked[:DRAWN]]
    if rest := ranked[DRAWN:]:
        series.append(_series("others", [found[model] for model in rest], every))
    return {"kind": "bars", "unit": "usd" if measure == "cost" else "", "days": every, "series": series}


def _series(name: str, sums: Iterable[dict[date, Any]], every: list[date]) -> dict[str, Any]:
    sums = list(sums)
    return {"name": name, "values": [sum(each.get(day, 0) for each in sums) for day in every]}


@member()
def usage_csv(request: HttpRequest, membership: Membership) -> HttpResponseBase:
    tenant, query = membership.tenant, PageQuery(request.GET)
    since, until = span(query, tenant)
    tag = query.tag("tag")
    if query.faults:
        for fault in query.faults:
            messages.error(request, fault)
        return redirect("portal:usage", tenant.slug)
    zone = ZoneInfo(tenant.timezone)
    wanted = exports.Filter(
        tenant=tenant.slug,
        since=datetime.combine(since, time.min, tzinfo=zone).astimezone(UTC),
        until=datetime.combine(until + timedelta(days=1), time.min, tzinfo=zone).astimezone(UTC),
        tag=tag if "=" in tag else "",
    )
    try:
        export = exports.begin(wanted, columns=COLUMNS, zone=tenant.timezone, created_by=request.user)
    except exports.BadExport as error:
        messages.error(request, error.message)
        return redirect("portal:usage", tenant.slug)
    return streamed(
        request,
        lambda: exports.pieces(export),
        content_type=exports.CONTENT_TYPES["csv"],
        filename=f"{tenant.slug}-{since}-{until}.csv",
    )


@member()
def requests(request: HttpRequest, membership: Membership) -> HttpResponse:
    """The newest requests first, in pages without a count. A full request id finds its row."""
    tenant, query = membership.tenant, PageQuery(request.GET)
    if request_id := query.request_id("id"):
        if _request(tenant, request_id):
            return redirect("portal:receipt", tenant.slug, request_id)
        query.faults.append(
            f"You have no request with the ID {request_id}. New requests appear within a second. "
            "Refused requests are not listed."
        )
    rows = UsageRecord.objects.filter(tenant=tenant).select_related("api_key")
    filters = {
        "status": query.choice("status", UsageStatus.values),
        "model": query.text("model"),
        "end_user": query.text("end_user"),
        "api_key": query.number("key"),
        "created_at__lt": query.moment("before"),
    }
    rows = rows.filter(**{name: value for name, value in filters.items() if value not in (None, "")})
    listed = list(rows.order_by("-created_at")[: LISTED + 1]) if not query.faults else []
    older = request.GET.copy()
    older["before"] = listed[LISTED - 1].created_at.isoformat() if len(listed) > LISTED else ""
    return page(
        request,
        membership,
        "requests",
        "Requests",
        rows=listed[:LISTED],
        faults=query.faults,
        older=older.urlencode() if older["before"] else "",
        asked=request.GET,
        statuses=UsageStatus.choices,
        models=tenant.allowed_models.order_by("name"),
        keys=tenant.keys.order_by("name"),
    )


@member()
def receipt(request: HttpRequest, membership: Membership, request_id: UUID) -> HttpResponse:
    row = _request(membership.tenant, request_id)
    if row is None:
        raise Http404
    return page(request, membership, "receipt", "Receipt", under="requests", row=row)


def _request(tenant: Tenant, request_id: UUID) -> UsageRecord | None:
    """The row of a request id. The time in the id narrows it to an index lookup in one partition."""
    rows = UsageRecord.objects.filter(request_id=request_id, created_at=created_at(str(request_id)))
    return rows.filter(tenant=tenant).select_related("api_key").first()


def span(query: PageQuery, tenant: Tenant) -> tuple[date, date]:
    """The first and last day in the query, both included; by default the last thirty days."""
    today = timezone.now().astimezone(ZoneInfo(tenant.timezone)).date()
    since, until = query.day("since"), query.day("until")
    until = until or today
    since = since or until - timedelta(days=DAYS - 1)
    return (since, until) if since <= until else (until, since)


def _grouped(days: QuerySet[Any], field: str, tokens: Any, *, newest: bool = False) -> list[dict[str, Any]]:
    totals = days.values(field).order_by()
    totals = totals.annotate(cost=Sum("cost_usd"), calls=Sum("requests"), tokens=Sum(tokens))
    return _rows(totals.order_by("-day" if newest else "-cost"), field)


def _counted(rows: QuerySet[UsageRecord], field: str) -> list[dict[str, Any]]:
    totals = rows.values(field).order_by()
    totals = totals.annotate(cost=Sum("cost_usd"), calls=Count("request_id"), tokens=Sum(TOTAL_TOKENS))
    return _rows(totals.order_by("-cost"), field)


def _rows(totals: Any, field: str) -> list[dict[str, Any]]:
    return [{**row, "name": row[field] or "–"} for row in totals[:LISTED]]
