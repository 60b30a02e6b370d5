"""Compare the three books: live counters, ledger, roll-ups."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
from django.db import connection, transaction

from billing.events import UsageEvent, decode
from billing.ledger.chain import take_turn
from billing.models import PeriodUsage, UsageRecord
from gateway_project.ground.money import NanoUSD, nine_places, to_usd
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import (
    PREPAID_COUNTER,
    budget_counter,
    every_shard,
    named_key,
    shard_of,
    usage_stream,
)
from tenants.models import Tenant
from tenants.periods import Span, period_of
from tenants.policy import BudgetMode


class Book(msgspec.Struct, frozen=True):
    """One tenant's period in the three books, in USD. `redis_usd` is `None` for a cold counter, which is no fault.

    `expected_usd` is what the counter must be: the ledger and the stream at the moment it was read.
    """

    tenant: str
    redis_usd: Decimal | None
    ledger_usd: Decimal
    rollup_usd: Decimal
    reserved_usd: Decimal
    undrained: int
    expected_usd: Decimal

    @property
    def redis_agrees(self) -> bool:
        return self.redis_usd is None or self.redis_usd == self.expected_usd

    @property
    def drift_usd(self) -> Decimal:
        """The largest difference between two books."""
        redis_usd = self.expected_usd if self.redis_usd is None else self.redis_usd
        return max(abs(redis_usd - self.expected_usd), abs(self.rollup_usd - self.ledger_usd))

    @property
    def ok(self) -> bool:
        return not self.drift_usd


class _Counter(msgspec.Struct, frozen=True):
    """A tenant's counter in Redis and its events in the stream, read in one transaction."""

    spent_nano: NanoUSD | None
    held_nano: NanoUSD
    waiting: dict[str, NanoUSD]  # request id: cost


# Ledger and roll-up come from one snapshot. A row recorded after the counters were read is in both, but not in
# `known_usd`, with which the counter is compared. `created_at` is when a call began: a day before the period is enough.
_SUMS = """
WITH wanted AS (
    SELECT * FROM unnest(%(tenants)s::bigint[], %(periods)s::date[]) AS each (tenant_id, period_start)
), ledger AS (
    SELECT tenant_id, sum(cost_usd) AS usd,
           COALESCE(sum(cost_usd) FILTER (WHERE recorded_at <= %(read_at)s), 0) AS known_usd
    FROM billing_usagerecord JOIN wanted USING (tenant_id, period_start)
    WHERE created_at >= %(since)s GROUP BY tenant_id
), rollup AS (
    SELECT tenant_id, sum(cost_usd) AS usd
    FROM billing_dailyusage JOIN wanted USING (tenant_id, period_start) GROUP BY tenant_id
)
SELECT tenant_id, COALESCE(ledger.usd, 0), COALESCE(ledger.known_usd, 0), COALESCE(rollup.usd, 0)
FROM wanted LEFT JOIN ledger USING (tenant_id) LEFT JOIN rollup USING (tenant_id)
"""


def check_books(tenants: Iterable[Tenant], *, now: float | None = None) -> list[Book]:
    """The books of `tenants` in the period of `now` (epoch seconds).

    A prepaid balance has no period. The sum of its earlier periods is taken from the roll-up, which was compared with
    the ledger while they ran.
    """
    moment = time.time() if now is None else now
    rows = list(tenants)
    periods = {each.pk: period_of(moment, each.timezone, each.billing_day) for each in rows}
    if not rows:
        return []
    prepaid = [each.pk for each in rows if each.budget_mode == BudgetMode.PREPAID]
    with transaction.atomic(), connection.cursor() as cursor:
        # Between two batches of the drain: what the ledger has was recorded before `read_at` and is committed, and
        # nothing is added while the counters are read. So every settled call is in the ledger or the stream, and a row
        # in both is known by its time.
        cursor.execute("SET LOCAL lock_timeout = '10s'")  # a drain that hangs must not hang this too
        for shard in sorted({shard_of(each.pk) for each in rows}):
            take_turn(cursor, shard)
        cursor.execute("SELECT clock_timestamp()")
        read_at = cursor.fetchone()[0]
        counters = _counters(rows, periods)
        before = _before(prepaid, periods)
    since = datetime.fromtimestamp(min(each.start for each in periods.values()), UTC) - timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute(
            _SUMS,
            {
                "tenants": list(periods),
                "periods": [each.name for each in periods.values()],
                "read_at": read_at,
                "since": since,
            },
        )
        sums = {tenant_id: values for tenant_id, *values in cursor.fetchall()}
    drained = _drained(counters, read_at)
    return [
        _book(each, counters[each.pk], sums[each.pk], before.get(each.pk, Decimal(0)), drained)
        for each in rows
    ]


def _book(tenant: Tenant, counter: _Counter, sums: list[Decimal], before: Decimal, drained: set[str]) -> Book:
    ledger, known, rollup = (before + each for each in sums)
    waiting = [cost for request_id, cost in counter.waiting.items() if request_id not in drained]
    return Book(
        tenant=tenant.slug,
        redis_usd=None if counter.spent_nano is None else to_usd(counter.spent_nano),
        ledger_usd=nine_places(ledger),
        rollup_usd=nine_places(rollup),
        reserved_usd=to_usd(counter.held_nano),
        undrained=len(waiting),
        expected_usd=nine_places(known) + to_usd(sum(waiting)),
    )


def _counters(tenants: Sequence[Tenant], periods: Mapping[int, Span]) -> dict[int, _Counter]:
    """The counters of `tenants`, with the stream of their shard as of the same moment."""
    found: dict[int, _Counter] = {}
    for shard in every_shard():
        mine = [each for each in tenants if shard_of(each.pk) == shard]
        if not mine:
            continue
        with store().pipeline(transaction=True) as pipeline:
            pipeline.xrange(usage_stream(shard))
            for each in mine:
                prepaid = each.budget_mode == BudgetMode.PREPAID
                counter = PREPAID_COUNTER if prepaid else budget_counter(periods[each.pk].name)
                pipeline.hmget(named_key(each.pk, counter), "spent", "held")
            entries, *values = pipeline.execute()
        events: dict[int, list[UsageEvent]] = {}
        for event in map(_event, entries):
            if event is not None:
                events.setdefault(event.tenant_id, []).append(event)
        for each, (spent, held) in zip(mine, values, strict=True):
            waiting = {
                event.request_id: event.cost_nano
                for event in events.get(each.pk, [])
                if each.budget_mode == BudgetMode.PREPAID or event.period_start == periods[each.pk].name
            }
            spent_nano = None if spent is None else NanoUSD(int(spent))
            found[each.pk] = _Counter(spent_nano, NanoUSD(int(held or 0)), waiting)
    return found


def _event(entry: tuple[bytes, dict[bytes, bytes] | list[bytes]]) -> UsageEvent | None:
    """The event of a stream's entry; `None` for a late one, which changes no counter."""
    fields = entry[1]
    if isinstance(
        fields, list
    ):  # redis-py's cluster client hands the replies of a transaction on as they came
        fields = dict(zip(fields[::2], fields[1::2], strict=True))
    return None if b"late" in fields else decode(fields[b"e"])


def _before(prepaid: list[int], periods: Mapping[int, Span]) -> dict[int, Decimal]:
    rows = PeriodUsage.objects.filter(tenant__in=prepaid).values_list("tenant_id", "period_start", "cost_usd")
    sums: dict[int, Decimal] = {}
    for tenant_id, start, usd in rows:
        if start.isoformat() != periods[tenant_id].name:
            sums[tenant_id] = sums.get(tenant_id, Decimal(0)) + usd
    return sums


def _drained(counters: Mapping[int, _Counter], read_at: datetime) -> set[str]:
    """The ids of the events in the stream that were in the ledger at `read_at`: written, but not acknowledged yet."""
    ids = [request_id for counter in counters.values() for request_id in counter.waiting]
    found = UsageRecord.objects.filter(request_id__in=ids, recorded_at__lte=read_at)
    return {str(each) for each in found.values_list("request_id", flat=True)} if ids else set()


def undrained() -> dict[int, list[tuple[str, int]]]:
    """Period and cost of every event that is still in a stream, by tenant."""
    waiting: dict[int, list[tuple[str, int]]] = {}
    for shard in every_shard():
        for event in map(_event, store().xrange(usage_stream(shard))):
            if event is not None:
                waiting.setdefault(event.tenant_id, []).append((event.period_start, event.cost_nano))
    return waiting
