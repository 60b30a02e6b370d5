"""Usage by tag: the roll-up that the drain writes, and its queries."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection
from django.db.models import QuerySet, Sum

from billing.events import UsageEvent
from billing.models import DailyTagUsage, UsageRecord
from gateway_project.ground.money import to_usd

# Values of one tag that are kept apart in a tenant's day. Further ones are summed under OTHER, so that a tag that
# differs in every call does not make the roll-up as large as the ledger. No caller's value can be OTHER.
MOST_VALUES = 1000
OTHER = "(other)"
TagDay = tuple[int, str, str]  # tenant, tag, day


class TagSum(msgspec.Struct, frozen=True):
    """What the calls with one value of a tag used."""

    value: str
    requests: int
    tokens: int
    cost_usd: Decimal


def tagged(rows: QuerySet[UsageRecord], tag: str) -> QuerySet[UsageRecord]:
    """Those of `rows` that carry `tag` (name=value). Excluding rows without tags lets the partial index be used."""
    name, _, value = tag.partition("=")
    return rows.exclude(tags={}).filter(tags__contains={name: value})


def rows_of(tenant_id: int, *, since: date, until: date | None) -> QuerySet[DailyTagUsage]:
    """The roll-up's rows of a tenant's days, both ends included."""
    rows = DailyTagUsage.objects.filter(tenant_id=tenant_id, day__gte=since)
    return rows if until is None else rows.filter(day__lte=until)


def names(tenant_id: int, *, since: date, until: date | None = None) -> list[str]:
    """The names of the first 100 tags that a tenant used in these days."""
    rows = rows_of(tenant_id, since=since, until=until)
    return list(rows.values_list("name", flat=True).order_by("name").distinct()[:100])


def by_value(
    tenant_id: int, name: str, *, since: date, until: date | None = None, most: int = 1000
) -> list[TagSum]:
    """The `most` values of a tag that cost most."""
    rows = rows_of(tenant_id, since=since, until=until).filter(name=name).values("value").order_by()
    sums = rows.annotate(requests=Sum("requests"), tokens=Sum("tokens"), cost_usd=Sum("cost_usd"))
    return [TagSum(**row) for row in sums.order_by("-cost_usd", "value")[:most]]


def add_tags(events: Iterable[UsageEvent]) -> None:
    """Add `events` to `DailyTagUsage` in the order of its unique key, so that two drains do not deadlock."""
    groups: dict[tuple[int, str, str, str, str], list[UsageEvent]] = defaultdict(list)
    for event in events:
        for name, value in event.tags.items():
            groups[event.tenant_id, name[:64], event.day, value[:64], event.model[:100]].append(event)
    if not groups:
        return
    known = _known_values({key[:3] for key in groups})
    sums: dict[tuple[Any, ...], list[Any]] = {}
    for (tenant_id, name, day, value, model), group in sorted(groups.items()):
        key = (tenant_id, name, day, _told_apart(value, known[tenant_id, name, day]), model)
        total = sums.setdefault(key, [0, 0, 0, 0, Decimal(0)])
        for number, added in enumerate(_sums(group)):
            total[number] += added
    rows = [(*key, *total) for key, total in sorted(sums.items())]
    with connection.cursor() as cursor:
        cursor.execute(_ADD, [list(column) for column in zip(*rows, strict=True)])


def _told_apart(value: str, known: set[str]) -> str:
    if value not in known and len(known) >= MOST_VALUES:
        return OTHER
    known.add(value)
    return value


def _known_values(days: set[TagDay]) -> dict[TagDay, set[str]]:
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN, [list(column) for column in zip(*sorted(days), strict=True)])
        found = {
            (tenant, name, day.isoformat()): set(values) for tenant, name, day, values in cursor.fetchall()
        }
    return {day: found.get(day, set()) for day in days}


def _sums(events: list[UsageEvent]) -> tuple[Any, ...]:
    usages = [event.usage for event in events]
    return (
        len(events),
        sum(usage.total_tokens for usage in usages),
        sum(usage.input_tokens for usage in usages),
        sum(usage.output_tokens for usage in usages),
        to_usd(sum(event.cost_nano for event in events)),
    )


_KNOWN = """
SELECT tenant_id, name, day, array_agg(DISTINCT value)
FROM billing_dailytagusage
WHERE (tenant_id, name, day) IN (SELECT * FROM unnest(%s::bigint[], %s::text[], %s::date[]))
GROUP BY tenant_id, name, day
"""
_ADD = """
INSERT INTO billing_dailytagusage AS total
    (tenant_id, name, day, value, model, requests, tokens, input_tokens, output_tokens, cost_usd)
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::date[], %s::text[], %s::text[],
                     %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::numeric[])
ON CONFLICT (tenant_id, name, day, value, model) DO UPDATE SET
    requests = total.requests + EXCLUDED.requests,
    tokens = total.tokens + EXCLUDED.tokens,
    input_tokens = total.input_tokens + EXCLUDED.input_tokens,
    output_tokens = total.output_tokens + EXCLUDED.output_tokens,
    cost_usd = total.cost_usd + EXCLUDED.cost_usd
"""
