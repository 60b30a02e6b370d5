"""The daily roll-up, written in the transaction that writes the ledger rows it sums."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from django.db import connection

from billing.events import UsageEvent
from billing.ledger.histogram import histogram
from billing.usage import COUNTS
from gateway_project.ground.money import to_usd

# The roll-up's columns and their types: the key of a row (KEYS), what is added up (SUMS), the histograms (BUCKETS).
KEYS = {
    "tenant_id": "bigint",
    "day": "date",
    "api_key_id": "bigint",
    "model": "text",
    "status": "text",
    "period_start": "date",
}


class Summed(NamedTuple):
    """A column that is added up: its type, and what one call adds to it (nano-USD if the type is numeric)."""

    type: str
    of: Callable[[UsageEvent], int]


SUMS = {
    "requests": Summed("bigint", lambda event: 1),
    "estimated_requests": Summed("bigint", attrgetter("estimated")),
    **{name: Summed("bigint", attrgetter(f"usage.{name}")) for name in COUNTS},
    "cost_usd": Summed("numeric", attrgetter("cost_nano")),
    "upstream_cost_usd": Summed("numeric", attrgetter("upstream_cost_nano")),
    "downgraded_requests": Summed("bigint", lambda event: "downgraded" in event.route),
    "downgraded_cost_usd": Summed(
        "numeric", lambda event: event.cost_nano if "downgraded" in event.route else 0
    ),
    "saved_usd": Summed("numeric", attrgetter("saved_nano")),
    "latency_ms_sum": Summed("bigint", lambda event: event.latency_ms or 0),
    "latency_count": Summed("bigint", lambda event: event.latency_ms is not None),
    "ttft_ms_sum": Summed("bigint", lambda event: event.ttft_ms or 0),
    "ttft_count": Summed("bigint", lambda event: event.ttft_ms is not None),
}
BUCKETS = ("latency_buckets", "ttft_buckets")


def add_to_roll_up(events: Iterable[UsageEvent]) -> None:
    """Add `events` to `DailyUsage` in one statement, so that the triggers of its totals run once a batch.

    Rows are written in one order, so that two drains wait for each other instead of deadlocking.
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
    types = [*KEYS.values(), *(column.type for column in SUMS.values())]
    types += ["text" for _ in BUCKETS]  # unnest would flatten arrays
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
    """The columns of `SUMS` over the calls of one row. Nano-USD are added up and converted to USD once."""
    sums: list[Any] = []
    for column in SUMS.values():
        total = sum(map(column.of, events))
        sums.append(to_usd(total) if column.type == "numeric" else total)
    return sums


def _buckets(events: Sequence[UsageEvent]) -> tuple[str | None, str | None]:
    """The columns of `BUCKETS` as PostgreSQL array literals."""
    latency = histogram([event.latency_ms for event in events if event.latency_ms is not None])
    ttft = histogram([event.ttft_ms for event in events if event.ttft_ms is not None])
    return _array(latency), _array(ttft)


def _array(counts: Sequence[int] | None) -> str | None:
    return None if counts is None else f"{{{','.join(map(str, counts))}}}"
