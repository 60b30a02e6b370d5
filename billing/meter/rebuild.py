"""Rebuild cold counters: those missing in Redis are summed from the ledger and the events not drained yet.

However many calls in however many processes meet a cold counter, one process rebuilds it (`begin_rebuild.lua`) and the
others wait. Counters that are cold together are summed together, in one query for each kind.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from django.db import DatabaseError, close_old_connections, connection, transaction
from django.db.models import F, Sum

from billing.events import UsageEvent, decode
from billing.meter.connection.pipe import RedisPipe
from billing.meter.errors import MeteringUnavailable
from billing.meter.scripts import (
    BEGIN_REBUILD,
    SEED,
    BeginRebuildArguments,
    BeginRebuildKeys,
    SeedArguments,
    SeedKeys,
)
from billing.models import DailyUsage, UsageRecord
from billing.models.usage_record import TOTAL_TOKENS
from gateway_project.ground.money import to_nano
from gateway_project.ground.redis_keys import leases_key, named_key, shard_of, usage_stream

# Counters found cold within this time are rebuilt in one round.
GATHER_SECONDS = 0.003
# A builder that has not seeded within this time is taken for dead, and the next one to ask builds.
BUILDER_MS = 5000
PAUSE_SECONDS = 0.02
PATIENCE_SECONDS = 10.0


class MissingCounter(msgspec.Struct, frozen=True):
    """A counter that Redis lacks. `counter` is its name below the tenant's key. `period_start` is `None` for one that
    counts for ever. `expires_at` is an epoch second.
    """

    tenant_id: int
    counter: str
    scope: str  # tenant, key, user, run or day
    period_start: str | None
    day: str
    key_id: int
    end_user: str
    run_id: str
    expires_at: int

    @property
    def field(self) -> str:
        return "tokens" if self.scope == "day" else "spent"

    def columns(self) -> dict[str, Any]:
        """The columns that select its rows, in the ledger or the roll-up."""
        mine: dict[str, Any] = {"tenant_id": self.tenant_id}
        match self.scope:
            case "day":
                return mine | {"day": date.fromisoformat(self.day)}
            case "run":
                return mine | {"run_id": self.run_id}
            case "key":
                mine |= {"api_key_id": self.key_id}
            case "user":
                mine |= {"end_user": self.end_user.replace("\0", "")}  # as the drain writes it
        if self.period_start is not None:
            mine |= {"period_start": date.fromisoformat(self.period_start)}
        return mine

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


class Rebuilder:
    """Rebuilds the cold counters that calls of one process wait for."""

    def __init__(self, pipe: RedisPipe) -> None:
        self._pipe = pipe
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="rebuild")
        self._waiting: dict[MissingCounter, asyncio.Future[None]] = {}
        self._gathered: list[MissingCounter] = []
        self._rounds: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Start no more reads of the ledger."""
        self._threads.shutdown(wait=False)

    async def rebuild(self, cold: MissingCounter) -> None:
        """Return once the counter exists, whoever rebuilds it.

        Raises MeteringUnavailable if Redis or the ledger is away, or if settles keep passing the counter by.
        """
        waiting = self._waiting.get(cold)
        if waiting is None:
            loop = asyncio.get_running_loop()
            waiting = self._waiting[cold] = loop.create_future()
            if not self._gathered:
                loop.call_later(GATHER_SECONDS, self._begin)
            self._gathered.append(cold)
        await asyncio.shield(waiting)

    def _begin(self) -> None:
        round_ = asyncio.get_running_loop().create_task(self._round())
        self._rounds.add(round_)
        round_.add_done_callback(self._rounds.discard)

    async def _round(self) -> None:
        """Rebuild what was gathered. A counter's callers go on as soon as it exists."""
        left, self._gathered = self._gathered, []
        builder, until = uuid.uuid4().hex, asyncio.get_running_loop().time() + PATIENCE_SECONDS
        failure: Exception = MeteringUnavailable(
            "Counters could not be rebuilt while calls were settling; try again."
        )
        try:
            while left and asyncio.get_running_loop().time() < until:
                done = await self._rebuilt(builder, left)
                for cold in done:
                    self._waiting.pop(cold).set_result(None)
                left = [cold for cold in left if cold not in done]
                if left:
                    await asyncio.sleep(PAUSE_SECONDS)
        except Exception as error:  # each caller raises it
            failure = error
        for cold in left:
            waiting = self._waiting.pop(cold)
            waiting.set_exception(failure)
            waiting.exception()  # its callers may have left

    async def _rebuilt(self, builder: str, missing: Sequence[MissingCounter]) -> set[MissingCounter]:
        """Build those of `missing` that nobody else builds. Returns the ones that exist by then."""
        answers = await asyncio.gather(
            *(
                self._pipe.run(
                    BEGIN_REBUILD,
                    BeginRebuildKeys(counter=_key(cold)),
                    BeginRebuildArguments(field=cold.field, builder=builder, builder_ms=BUILDER_MS),
                )
                for cold in missing
            )
        )
        done = {cold for cold, answer in zip(missing, answers, strict=True) if answer == b"WARM"}
        mine = [cold for cold, answer in zip(missing, answers, strict=True) if answer == b"YOURS"]
        if not mine:
            return done
        try:
            totals = await self._totals(mine)
        except BaseException:
            await asyncio.gather(*(self._pipe.call("HDEL", _key(cold), "builder") for cold in mine))
            raise
        answers = await asyncio.gather(
            *(
                self._pipe.run(
                    SEED,
                    SeedKeys(leases=leases_key(cold.tenant_id), counter=_key(cold)),
                    SeedArguments(
                        builder=builder,
                        field=cold.field,
                        value=totals[cold],
                        name=cold.counter,
                        expires_at=cold.expires_at,
                    ),
                )
                for cold in mine
            )
        )
        return done | {cold for cold, answer in zip(mine, answers, strict=True) if answer == b"SEEDED"}

    async def _totals(self, missing: Sequence[MissingCounter]) -> Mapping[MissingCounter, int]:
        """The value of each counter. The stream is read before the ledger, so that no event is missed in between."""
        shards = sorted({shard_of(cold.tenant_id) for cold in missing})
        by_tenant: dict[int, list[UsageEvent]] = defaultdict(list)
        for events in await asyncio.gather(*(undrained_events(self._pipe, shard) for shard in shards)):
            for event in events:
                by_tenant[event.tenant_id].append(event)
        waiting = {
            cold: {
                event.request_id: event for event in by_tenant.get(cold.tenant_id, ()) if cold.counts(event)
            }
            for cold in missing
        }
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, ledger_totals, waiting)
        except DatabaseError as error:
            raise MeteringUnavailable("Counters cannot be rebuilt without the database.") from error


def _key(cold: MissingCounter) -> str:
    return named_key(cold.tenant_id, cold.counter)


async def undrained_events(pipe: RedisPipe, shard: int) -> list[UsageEvent]:
    """The events in the shard's stream, except late ones, which change no counter."""
    events, after = [], "-"
    while True:
        page = await pipe.call("XRANGE", usage_stream(shard), after, "+", "COUNT", 1000)
        for _, fields in page:
            entry = dict(zip(fields[::2], fields[1::2], strict=True))
            if b"late" not in entry:
                events.append(decode(entry[b"e"]))
        if len(page) < 1000:
            return events
        after = "(" + page[-1][0].decode()


def ledger_totals(waiting: Mapping[MissingCounter, Mapping[str, UsageEvent]]) -> dict[MissingCounter, int]:
    """The sum of the ledger and of those `waiting` events that are not in it yet: nano-USD, or tokens for a day.

    Raises DatabaseError.
    """
    close_old_connections()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # One snapshot for all queries, or an event drained between two of them would count twice.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            known = _in_ledger({request_id for events in waiting.values() for request_id in events})
            booked = _booked(waiting)
    finally:
        close_old_connections()
    totals = {}
    for cold, events in waiting.items():
        missing = [event for request_id, event in events.items() if request_id not in known]
        if cold.scope == "day":
            totals[cold] = booked[cold] + sum(event.usage.total_tokens for event in missing)
        else:
            totals[cold] = booked[cold] + sum(event.cost_nano for event in missing)
    return totals


def _in_ledger(request_ids: set[str]) -> set[str]:
    if not request_ids:
        return set()
    ids = [UUID(request_id) for request_id in request_ids]
    found = UsageRecord.objects.filter(request_id__in=ids).values_list("request_id", flat=True)
    return {str(request_id) for request_id in found}


def _booked(missing: Iterable[MissingCounter]) -> dict[MissingCounter, int]:
    """The ledger's sum for each counter, in one query for each kind of counter."""
    kinds: dict[tuple[str, ...], dict[tuple[Any, ...], list[MissingCounter]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for cold in missing:
        columns = cold.columns()
        kinds[cold.scope, *columns][tuple(columns.values())].append(cold)
    totals: dict[MissingCounter, int] = {}
    for (scope, *names), groups in kinds.items():
        # Roll-ups where they are enough (tenant, key, day), ledger rows for end users and runs.
        rows: Any = (UsageRecord if scope in ("user", "run") else DailyUsage).objects
        for name, values in zip(names, zip(*groups, strict=True), strict=True):
            rows = rows.filter(**{f"{name}__in": set(values)})
        if scope in ("user", "run"):
            rows = rows.exclude(**{names[1]: ""})  # so that PostgreSQL can use the partial index
        total = Sum(TOTAL_TOKENS if scope == "day" else F("cost_usd"))
        found = {tuple(key): sum_ for *key, sum_ in rows.order_by().values_list(*names).annotate(total=total)}
        for key, group in groups.items():
            value = found.get(key) or Decimal(0)
            totals |= dict.fromkeys(group, int(value) if scope == "day" else to_nano(value))
    return totals
