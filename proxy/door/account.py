"""What a tenant can see of itself: what it used, what is left, and the receipt of one call."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from billing.events import UsageEvent
from billing.ledger import refusal_counts, tag_usage
from billing.ledger.tag_usage import TagSum
from billing.meter.connection.pipe import RedisPipe
from billing.meter.downgrades import saved_between
from billing.meter.limit_status import BudgetStatus, limit_status
from billing.meter.meter import Meter
from billing.meter.rebuild import undrained_events
from billing.models import DailyUsage, UsageRecord
from billing.models.usage_record import TOTAL_TOKENS
from billing.request_ids import created_at
from billing.usage import COUNTS
from gateway_project.ground.database import Reader
from gateway_project.ground.money import NanoUSD, to_usd
from gateway_project.ground.redis_keys import shard_of
from proxy.errors import InvalidRequest, NotFound
from proxy.pipeline.decision import downgrade_of
from tenants.periods import Span
from tenants.policy import Principal

MOST_ROWS = 1000


_TAG_TOTALS = {
    "requests": Coalesce(Sum("requests"), 0),
    "tokens": Coalesce(Sum("tokens"), 0),
    "input_tokens": Coalesce(Sum("input_tokens"), 0),
    "output_tokens": Coalesce(Sum("output_tokens"), 0),
    "cost_usd": Coalesce(Sum("cost_usd"), Decimal(0)),
}
_TOTALS = _TAG_TOTALS | {"tokens": Coalesce(Sum(TOTAL_TOKENS), 0)}


async def budget_of(meter: Meter, principal: Principal) -> dict[str, Any]:
    """Spend, what is left, and every limit with how much of it is used now. Raises MeteringUnavailable."""
    policy = principal.policy
    now = await limit_status(meter, principal)
    tenant, *others = now.budgets
    return {
        **_budget(tenant, policy.monthly_budget_nano),
        "mode": policy.budget_mode.value,
        "period": _span(now.period),
        "budgets": {each.scope: _budget(each, each.budget_nano) for each in others},
        "limits": {
            "requests_per_minute": _limit(policy.requests_per_minute, now.requests_used),
            "user_requests_per_minute": _limit(policy.user_requests_per_minute, None),
            "key_requests_per_minute": _limit(principal.key.requests_per_minute, now.key_requests_used),
            "concurrency": _limit(policy.concurrency, now.open_calls),
            "tokens_per_day": {
                **_limit(policy.tokens_per_day, now.tokens_used),
                "resets_at": _instant(now.day),
            },
        },
        "allowed_models": sorted(policy.models),
        "downgrade": downgrade_of(policy, now),
    }


async def usage_of(
    reports: Reader, principal: Principal, query: Mapping[str, str], *, period: Span
) -> dict[str, Any]:
    """Totals, by day, model and end user, from `since` (default: the start of `period`) until `until`, both included.

    With `tag=name` also by the values of that tag. With `tag=name=value` only of calls that carry it. Raises
    InvalidRequest, ReportsUnavailable.
    """
    since = _date(query, "since") or date.fromisoformat(period.name)
    until = _date(query, "until")
    tenant_id = principal.policy.tenant_id
    tag = query.get("tag", "")
    return await reports.read(lambda: _usage(tenant_id, since=since, until=until, tag=tag))


def _usage(tenant_id: int, *, since: date, until: date | None, tag: str) -> dict[str, Any]:
    days = Q(tenant_id=tenant_id, day__gte=since)
    if until is not None:
        days &= Q(day__lte=until)
    name, equals, value = tag.partition("=")
    rows, totals = UsageRecord.objects.filter(days), _TOTALS
    rollups: QuerySet[Any] = DailyUsage.objects.filter(days)
    if equals:
        tagged = tag_usage.rows_of(tenant_id, since=since, until=until)
        rollups, totals = tagged.filter(name=name, value=value), _TAG_TOTALS
        rows = tag_usage.tagged(rows, tag)
    total = rollups.aggregate(**totals)
    answer = {
        "since": since.isoformat(),
        "until": until.isoformat() if until else None,
        "total": total,
        "by_day": _by(rollups, "day", totals),
        "by_model": _by(rollups, "model", totals),
        "by_user": _by_user(rows),
        "tags": tag_usage.names(tenant_id, since=since, until=until),
    }
    if name and not equals:
        answer["by_tag"] = _by_tag(tag_usage.by_value(tenant_id, name, since=since, until=until), total)
    if not equals:
        refused = refusal_counts.sums(tenant_id, since=since, until=until)
        saved = saved_between(tenant_id, since=since, until=until)
        answer["downgrades"] = {
            "requests": saved.requests,
            "paid_usd": saved.paid_usd,
            "would_have_cost_usd": saved.would_have_cost_usd,
            "saved_usd": saved.saved_usd,
        }
        answer["refused"] = {each.code: each.requests for each in refused if not each.shadow}
    return answer


def _by(rollups: QuerySet[Any], field: str, totals: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(rollups.values(field).order_by(field).annotate(**totals)[:MOST_ROWS])


def _by_user(rows: QuerySet[UsageRecord]) -> list[dict[str, Any]]:
    """The end users that cost most, from the ledger: a roll-up by end user could be as large as that."""
    named = rows.exclude(end_user="").values("end_user").order_by()
    totals = named.annotate(requests=Count("request_id"), cost_usd=Sum("cost_usd"), tokens=Sum(TOTAL_TOKENS))
    return [dict(row) for row in totals.order_by("-cost_usd", F("end_user"))[:MOST_ROWS]]


def _by_tag(values: list[TagSum], total: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The values of one tag that cost most. Calls without the tag are summed under an empty value."""
    rest = {
        name: total[name] - sum(getattr(each, name) for each in values)
        for name in ("requests", "tokens", "cost_usd")
    }
    rows = [msgspec.structs.asdict(each) for each in values]
    return [*rows, {"value": "", **rest}] if rest["requests"] > 0 else rows


async def receipt_of(
    reports: Reader, pipe: RedisPipe, principal: Principal, request_id: str
) -> dict[str, Any]:
    """One call of the tenant's own, from the ledger or from the events not drained yet. Raises NotFound."""
    try:
        wanted = UUID(request_id)
    except ValueError:
        raise NotFound(f"There is no request {request_id[:60]!r}.") from None
    tenant_id = principal.policy.tenant_id
    row = await reports.read(
        lambda: UsageRecord.objects.filter(
            request_id=wanted, created_at=created_at(str(wanted)), tenant_id=tenant_id
        ).first()
    )
    if row is not None:
        return _receipt_of_row(row)
    for event in await undrained_events(pipe, shard_of(tenant_id)):
        if event.request_id == str(wanted) and event.tenant_id == tenant_id:
            return _receipt_of_event(event)
    raise NotFound(f"There is no request {wanted}, or it has not finished yet.")


_SHARED_FIELDS = (
    "end_user", "session", "run_id", "wire", "model_requested", "model_preferred", "model", "route", "stream", "status",
    "http_status", "estimated", "latency_ms", "ttft_ms", "upstream_request_id", "tags",
)  # fmt: skip


def _receipt_of_row(row: UsageRecord) -> dict[str, Any]:
    return {
        "request_id": str(row.request_id),
        "created_at": row.created_at,
        **{name: getattr(row, name) for name in (*_SHARED_FIELDS, *COUNTS)},
        "cost_usd": row.cost_usd,
        "saved_usd": row.saved_usd,
    }


def _receipt_of_event(event: UsageEvent) -> dict[str, Any]:
    return {
        "request_id": event.request_id,
        "created_at": created_at(event.request_id),
        **{name: getattr(event, name) for name in _SHARED_FIELDS},
        **msgspec.structs.asdict(event.usage),
        "cost_usd": to_usd(event.cost_nano),
        "saved_usd": to_usd(event.saved_nano),
    }


def _budget(budget: BudgetStatus, budget_nano: NanoUSD | None) -> dict[str, Any]:
    left = None if budget_nano is None else budget_nano - budget.spent_nano - budget.held_nano
    return {
        "budget_usd": None if budget_nano is None else to_usd(budget_nano),
        "spend_usd": to_usd(budget.spent_nano),
        "reserved_usd": to_usd(budget.held_nano),
        "remaining_usd": None if left is None else to_usd(max(0, left)),
    }


def _limit(limit: int | None, used: int | None) -> dict[str, Any]:
    return {"limit": limit, "used": used}


def _span(span: Span) -> dict[str, Any]:
    return {"start": span.name, "ends_at": _instant(span)}


def _instant(span: Span) -> str:
    return span.ends_at.isoformat().replace("+00:00", "Z")


def _date(query: Mapping[str, str], name: str) -> date | None:
    text = query.get(name, "")
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise InvalidRequest(f"{name}: {text[:40]!r} is not a date (YYYY-MM-DD).", field=name) from None
