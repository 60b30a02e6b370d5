"""The daily roll-up, written in the transaction that writes the ledger rows it sums."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection

from billing.events import UsageEvent
from billing.ledger.histogram import histogram
from gateway_project.ground.money import to_usd
from routing.choice import Change

# The roll-up's columns and their types: what makes a row, what is added up, and the histograms.
KEYS = {
    "tenant_id": "bigint",
    "day": "date",
    "api_key_id": "bigint",
    "model": "text",
    "status": "text",
    "period_start": "date",
}
SUMS = {
    "requests": "bigint",
    "estimated_requests": "bigint",
    "input_tokens": "bigint",
    "output_tokens": "bigint",
    "cache_read_tokens": "bigint",
    "cache_write_5m_tokens": "bigint",
    "cache_write_1h_tokens": "bigint",
    "web_searches": "bigint",
    "cost_usd": "numeric",
    "upstream_cost_usd": "numeric",
    "downgraded_requests": "bigint",
    "downgraded_cost_usd": "numeric",
    "saved_usd": "numeric",
    "latency_ms_sum": "bigint",
    "latency_count": "bigint",
    "ttft_ms_sum": "bigint",
    "ttft_count": "bigint",
}
BUCKETS = ("latency_buckets", "ttft_buckets")


def add_to_roll_up(events: Iterable[UsageEvent]) -> None:
    """Add to `DailyUsage` in one statement, so that its totals' triggers run once for the whole batch.

    The rows come in one order, so that two drains wait for each other instead of locking each other out.
    """
    groups: dict[tuple[Any, ...], list[UsageEvent]] = defaultdict(list)
    for event in events:
        key = (
            event.tenant_id,
            event.day,
            event.key_id or 0,
            event.model[:100],
            event.status,
            event.period_start,
        )
        groups[key].append(event)
    if not groups:
        return
    rows = [(*key, *_sums(group), *_buckets(group)) for key, group in sorted(groups.items())]
    names = (*KEYS, *SUMS, *BUCKETS)
    types = (*KEYS.values(), *SUMS.values(), *("text" for _ in BUCKETS))  # unnest would flatten arrays
    read = {"api_key_id": "NULLIF(api_key_id, 0)"} | {name: f"{name}::bigint[]" for name in BUCKETS}
    added = [f"{name} = billing_dailyusage.{name} + excluded.{name}" for name in SUMS]
    added += [f"{name} = billing_add_counts(billing_dailyusage.{name}, excluded.{name})" for name in BUCKETS]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO billing_dailyusage ({', '.join(names)}) "  # noqa: S608 - our own names
            f"SELECT {', '.join(read.get(name, name) for name in names)} "
            f"FROM unnest({', '.join(f'%s::{kind}[]' for kind in types)}) AS batch ({', '.join(names)}) "
            "ORDER BY tenant_id, day, api_key_id, model, status, period_start "
            f"ON CONFLICT (tenant_id, day, api_key_id, model, status, period_start) DO UPDATE SET {', '.join(added)}",
            [list(column) for column in zip(*rows, strict=True)],
        )


def _sums(events: Sequence[UsageEvent]) -> list[Any]:
    """The columns of `SUMS`, over calls of one roll-up row."""
    columns = zip(*(_values(event) for event in events), strict=True)
    return [sum(column[1:], start=column[0]) for column in columns]


def _values(event: UsageEvent) -> tuple[Any, ...]:
    usage = event.usage
    return (
        1,
        int(event.estimated),
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_5m_tokens,
        usage.cache_write_1h_tokens,
        usage.web_searches,
        to_usd(event.cost_nano),
        to_usd(event.upstream_cost_nano),
        int(Change.DOWNGRADED in event.route),
        to_usd(event.cost_nano if Change.DOWNGRADED in event.route else 0),
        to_usd(event.saved_nano),
        event.latency_ms or 0,
        int(event.latency_ms is not None),
        event.ttft_ms or 0,
        int(event.ttft_ms is not None),
    )


def _buckets(events: Sequence[UsageEvent]) -> tuple[str | None, str | None]:
    """The columns of `BUCKETS` as PostgreSQL array literals."""
    latency = histogram([event.latency_ms for event in events if event.latency_ms is not None])
    ttft = histogram([event.ttft_ms for event in events if event.ttft_ms is not None])
    return _array(latency), _array(ttft)


def _array(counts: Sequence[int] | None) -> str | None:
    return None if counts is None else f"{{{','.join(map(str, counts))}}}"
