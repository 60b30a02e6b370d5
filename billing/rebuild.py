"""Cold counters: what Redis lost is summed from the ledger and from what is still in the stream."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from django.db import DatabaseError, close_old_connections, connection, transaction
from django.db.models import F, QuerySet, Sum

from billing.events import UsageEvent, decode
from billing.models import DailyUsage, UsageRecord
from billing.money import to_nano
from billing.redis_pipe import RedisPipe, Script
from billing.refusals import MeteringUnavailable
from gateway_project.shards import shard_of, tag, tenant_key

_SEED = Script("seed")
_threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="rebuild")
_running: dict[tuple[int, str], asyncio.Future[None]] = {}

TOKENS = (
    F("input_tokens")
    + F("output_tokens")
    + F("cache_read_tokens")
    + F("cache_write_5m_tokens")
    + F("cache_write_1h_tokens")
)


class Cold(msgspec.Struct, frozen=True):
    """A missing counter. `counter` is its name below the tenant's key; `period_start` None: for ever."""

    tenant_id: int
    counter: str
    scope: str  # tenant, key, user, run or day
    period_start: str | None
    day: str
    key_id: int
    end_user: str
    run_id: str
    expires_at: int

    def counts(self, event: UsageEvent) -> bool:
        """Whether `event` belongs to this counter."""
        if event.tenant_id != self.tenant_id:
            return False
        if self.scope == "day":
            return event.day == self.day
        if self.scope == "run":
            return event.run_id == self.run_id
        if self.period_start is not None and event.period_start != self.period_start:
            return False
        if self.scope == "key":
            return event.key_id == self.key_id
        return self.scope == "tenant" or event.end_user == self.end_user


async def warm(pipe: RedisPipe, cold: Cold) -> None:
    """Rebuild one counter; callers that come while it runs wait for the same result.

    Raises MeteringUnavailable when the ledger can't be read.
    """
    place = (cold.tenant_id, cold.counter)
    running = _running.get(place)
    if running is None or running.get_loop() is not asyncio.get_running_loop():
        running = _running[place] = asyncio.ensure_future(_warm(pipe, cold))
        running.add_done_callback(lambda _: _running.pop(place, None))
    await asyncio.shield(running)


async def _warm(pipe: RedisPipe, cold: Cold) -> None:
    place = tenant_key(cold.tenant_id)
    field = "tokens" if cold.scope == "day" else "spent"
    for _ in range(20):
        settled = await pipe.call("HGET", place, "settled") or b"0"
        undrained = await undrained_events(pipe, shard_of(cold.tenant_id))
        waiting = {event.request_id: event for event in undrained if cold.counts(event)}
        loop = asyncio.get_running_loop()
        try:
            total = await loop.run_in_executor(_threads, ledger_total, cold, waiting)
        except DatabaseError as error:
            raise MeteringUnavailable("Counters cannot be rebuilt without the database.") from error
        reply = await pipe.run(
            _SEED,
            [place, f"{place}:leases", f"{place}:{cold.counter}"],
            [settled, field, total, cold.counter, cold.expires_at],
        )
        if reply == b"SEEDED":
            return
    raise MeteringUnavailable("Counters could not be rebuilt while calls were settling; try again.")


async def undrained_events(pipe: RedisPipe, shard: int) -> list[UsageEvent]:
    """Every event of the shard's stream; late ones, which change no counter, are left out."""
    events, after = [], "-"
    while True:
        page = await pipe.call("XRANGE", f"{tag(shard)}:usage", after, "+", "COUNT", 1000)
        for _, fields in page:
            entry = dict(zip(fields[::2], fields[1::2], strict=True))
            if b"late" not in entry:
                events.append(decode(entry[b"e"]))
        if len(page) < 1000:
            return events
        after = "(" + page[-1][0].decode()


def ledger_total(cold: Cold, waiting: dict[str, UsageEvent]) -> int:
    """What the ledger and the `waiting` events not yet in it add up to: nano-USD, or tokens for a day."""
    close_old_connections()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # One snapshot for both questions: an event drained between them would count twice.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            ids = [UUID(each) for each in waiting]
            found = UsageRecord.objects.filter(request_id__in=ids).values_list("request_id", flat=True)
            known = {str(each) for each in found} if ids else set()
            missing = [event for request_id, event in waiting.items() if request_id not in known]
            if cold.scope == "day":
                rows = DailyUsage.objects.filter(tenant_id=cold.tenant_id, day=date.fromisoformat(cold.day))
                tokens = rows.aggregate(total=Sum(TOKENS))["total"] or 0
                return int(tokens) + sum(event.usage.total_tokens for event in missing)
            spent = _rows(cold).aggregate(total=Sum("cost_usd"))["total"] or Decimal(0)
            return to_nano(spent) + sum(event.cost_nano for event in missing)
    finally:
        close_old_connections()


def _rows(cold: Cold) -> QuerySet[Any]:
    """Roll-ups where they are enough (tenant, key), ledger rows for end users and runs."""
    mine: dict[str, Any] = {"tenant_id": cold.tenant_id}
    if cold.period_start is not None and cold.scope != "run":
        mine["period_start"] = cold.period_start
    match cold.scope:
        case "key":
            return DailyUsage.objects.filter(**mine, api_key_id=cold.key_id)
        case "user":
            return UsageRecord.objects.filter(**mine, end_user=cold.end_user)
        case "run":
            return UsageRecord.objects.filter(**mine, run_id=cold.run_id)
    return DailyUsage.objects.filter(**mine)
