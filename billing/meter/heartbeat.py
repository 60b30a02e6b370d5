"""The heartbeat: says that this process lives, and puts back what Redis has lost and this process still knows.

A flush, a failover or a restart without its last second loses leases, counters and events. Counters are rebuilt from
the ledger; leases and events are put back here. Each is put back at most once: a lease that was settled has a
tombstone, and an event that was drained is in the ledger.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, close_old_connections

from billing.meter.errors import MeteringUnavailable
from billing.meter.journal import Settlement, entry_id
from billing.meter.lease import Lease, LeaseState
from billing.meter.meter import Meter
from billing.meter.scripts import (
    BEAT,
    RESTORE,
    VOID,
    BeatArguments,
    BeatKeys,
    RestoreArguments,
    RestoreKeys,
)
from billing.meter.settlement import REAPED_SECONDS
from billing.models import UsageRecord, UsageStatus
from gateway_project.ground.by_token import forget_all
from gateway_project.ground.redis_keys import (
    busy_key,
    leases_key,
    named_keys,
    shard_key,
    shard_of,
    tenant_key,
    tombstone_key,
    usage_stream,
    workers_key,
)

logger = logging.getLogger("tenantry.billing")
UNCONFIRMED_BEATS = 10


class Heartbeat:
    """The heartbeat of one process. It reads the ledger in a thread of its own.

    `forget_policies` drops the policies that the process has cached.
    """

    def __init__(self, meter: Meter, *, forget_policies: Callable[[], None] = forget_all) -> None:
        self._meter = meter
        self._forget_policies = forget_policies
        # By shard: the epoch and the connection's generation at the last beat.
        self._seen: dict[int, tuple[bytes, int]] = {}
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="replay")

    def close(self) -> None:
        """Start no more reads."""
        self._threads.shutdown(wait=False)

    async def beat(self, worker: str) -> None:
        """Say in every shard that the process `worker` lives, and put back what is missing there.

        Raises MeteringUnavailable when Redis is away; the next beat tries again.
        """
        await asyncio.gather(*(self._beat(worker, shard) for shard in range(settings.METER_SHARDS)))

    async def _beat(self, worker: str, shard: int) -> None:
        pipe = self._meter.pipe
        keys = BeatKeys(shard=shard_key(shard), workers=workers_key(shard), usage=usage_stream(shard))
        epoch, oldest = await pipe.run(BEAT, keys, BeatArguments(worker=worker))
        if not epoch:
            # The next beat sees the new epoch. It opens only after every process has had time for that beat.
            await self._meter.open_epoch(shard)
        await self._void_unconfirmed(shard)
        now = (epoch, pipe.generation)
        seen = self._seen
        if seen.get(shard) == now:
            self._meter.journal.drained(shard, entry_id(oldest))
            return
        if shard in seen:
            self._forget_policies()
        await self.put_back(shard)
        if epoch:
            seen[shard] = now

    async def _void_unconfirmed(self, shard: int) -> None:
        """Undo admissions that got no reply.

        Redis may execute one after it has read this: a server that was frozen still has the old connection's commands
        to read. So each is looked for over several beats.
        """
        for unconfirmed in [each for each in self._meter.journal.unconfirmed if each.shard == shard]:
            found = await self._meter.pipe.run(VOID, unconfirmed.keys, unconfirmed.arguments)
            unconfirmed.beats += 1
            if found or unconfirmed.beats >= UNCONFIRMED_BEATS:
                self._meter.journal.unconfirmed.remove(unconfirmed)

    async def put_back(self, shard: int) -> None:
        """Repeat this process's undrained settles and open leases in `shard`, except those that are known there."""
        settles = self._meter.journal.take_settles(shard)
        try:
            # The stream is read before the ledger, so that an event drained in between is found in the ledger.
            waiting = await self._in_stream(shard, settles)
            known = await self._in_ledger(
                [each.request_id for each in settles if each.request_id not in waiting]
            )
            for settlement in list(settles):
                if settlement.request_id in waiting:
                    self._meter.journal.settled(settlement)
                elif settlement.request_id not in known or await self._is_open(settlement):
                    await self._meter.repeat(settlement)
                settles.remove(settlement)
        finally:
            # Redis went away again: the next beat takes what is left.
            for settlement in settles:
                self._meter.journal.settled(settlement)
        restored = 0
        leases = list(self._meter.journal.leases(shard))
        booked = await self._in_ledger([lease.request_id for lease in leases])
        for lease in leases:
            if status := booked.get(lease.request_id):
                # Its tombstone may be lost. Without one, its settle would be counted a second time.
                await self._put_tombstone(
                    shard,
                    lease.request_id,
                    LeaseState.REAPED if status == UsageStatus.ORPHANED else LeaseState.SETTLED,
                )
            else:
                restored += await self._restore(lease)
        if restored:
            logger.warning("put back %d open leases into shard %d", restored, shard)

    async def deliver(self, settles: list[Settlement]) -> int:
        """Settle what an ended process could not, each call once. Returns how many had not been settled yet.

        Raises MeteringUnavailable while Redis or PostgreSQL is away, since it is then unknown what is settled.
        """
        delivered = 0
        for shard in {shard_of(each.tenant_id) for each in settles}:
            of_shard = [each for each in settles if shard_of(each.tenant_id) == shard]
            # The stream before the ledger, as above.
            waiting = await self._in_stream(shard, of_shard, whole=True)
            unseen = [each for each in of_shard if each.request_id not in waiting]
            booked = await self._in_ledger([each.request_id for each in unseen], must_know=True)
            for settlement in unseen:
                status = booked.get(settlement.request_id)
                if status == UsageStatus.ORPHANED:
                    # Reaped, and its tombstone may have expired. With one, the real cost becomes an adjustment.
                    await self._put_tombstone(shard, settlement.request_id, LeaseState.REAPED)
                elif status and not await self._is_open(settlement):
                    continue
                await self._meter.repeat(settlement)
                delivered += 1
        return delivered

    async def _in_ledger(self, request_ids: list[str], *, must_know: bool = False) -> dict[str, str]:
        """The ids that are in the ledger, with their rows' status.

        Empty without a database: the drain skips what it has already booked. With `must_know`, MeteringUnavailable is
        raised then.
        """
        if not request_ids:
            return {}
        ids = [UUID(request_id) for request_id in request_ids]
        known = await asyncio.get_running_loop().run_in_executor(self._threads, _booked_status, ids)
        if known is None and must_know:
            raise MeteringUnavailable("The ledger is unavailable. Try again shortly.")
        return known or {}

    async def _put_tombstone(self, shard: int, request_id: str, state: LeaseState) -> None:
        """Put back the tombstone that says in which state a booked call ended."""
        tombstone = tombstone_key(shard, request_id)
        await self._meter.pipe.call("SET", tombstone, state, "NX", "EX", REAPED_SECONDS)

    async def _restore(self, lease: Lease) -> int:
        shard, key_prefix = shard_of(lease.tenant_id), tenant_key(lease.tenant_id)
        tenant_budget, key_budget, user_budget, run_budget, day = named_keys(
            key_prefix, (*lease.counters, lease.day_counter)
        )
        keys = RestoreKeys(
            leases=leases_key(lease.tenant_id),
            tenant_budget=tenant_budget,
            key_budget=key_budget,
            user_budget=user_budget,
            run_budget=run_budget,
            day=day,
            busy=busy_key(shard),
            tombstone=tombstone_key(shard, lease.request_id),
        )
        arguments = RestoreArguments(
            request_id=lease.request_id,
            tenant_id=lease.tenant_id,
            hold=lease.hold_nano,
            held_tokens=lease.held_tokens,
            kept=lease.kept,
            lease=lease.text(),
        )
        restored = await self._meter.pipe.run(RESTORE, keys, arguments)
        return int(restored)

    async def _is_open(self, settlement: Settlement) -> bool:
        """Whether Redis has the lease, although its event is in the ledger: then it lost the settle after the drain."""
        return bool(
            await self._meter.pipe.call("HEXISTS", leases_key(settlement.tenant_id), settlement.request_id)
        )

    async def _in_stream(self, shard: int, settles: list[Settlement], *, whole: bool = False) -> set[str]:
        """The ids of `settles` whose events are in the stream.

        While nothing is drained, events outlive their tombstones, and repeating their settles would count them twice.
        `whole` reads the whole stream, for settles whose entries are not known.
        """
        if not settles:
            return set()
        events = {settlement.event: settlement.request_id for settlement in settles}
        entries = [settlement.entry for settlement in settles]
        after, last = ("-", "+") if whole else (f"{a}-{b}" for a, b in (min(entries), max(entries)))
        found = set()
        while True:
            page = await self._meter.pipe.call("XRANGE", usage_stream(shard), after, last, "COUNT", 1000)
            found |= {events[fields[1]] for _, fields in page if fields[1] in events}
            if len(page) < 1000:
                return found
            after = "(" + page[-1][0].decode()


def _booked_status(ids: list[UUID]) -> dict[str, str] | None:
    """The status of each of `ids` that is in the ledger; `None` while PostgreSQL is away."""
    close_old_connections()
    try:
        found = UsageRecord.objects.filter(request_id__in=ids).values_list("request_id", "status")
        return {str(request_id): status for request_id, status in found}
    except DatabaseError:
        return None
    finally:
        close_old_connections()
