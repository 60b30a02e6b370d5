"""The reaper settles the leases of dead processes at what they held, flagged, so that no budget and no call is lost."""

import logging
import time

import msgspec

from billing.meter.lease import NO_OFFER, Lease, LeaseState, OrphanedLease, read
from billing.meter.meter import Meter
from billing.meter.settlement import CallOutcome
from billing.models import UsageStatus
from billing.usage import Usage
from gateway_project.ground.redis_keys import busy_key, every_shard, leases_key, workers_key

logger = logging.getLogger(__name__)
DEAD_AFTER_SECONDS = 10


class Reaper:
    """The reaper of one process. `seen_at` (monotonic seconds) is when it last reached Redis."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.seen_at = float("-inf")
        # Leases already logged as unreadable; each is met again every two seconds.
        self._unreadable: set[str] = set()

    async def look(self) -> int:
        """Call `reap`, unless Redis was out of reach for about as long as makes a process count as dead.

        Living processes could not beat either in that time. They have until the next look to do so. Raises
        MeteringUnavailable.
        """
        in_touch = time.monotonic() - self.seen_at < 0.8 * DEAD_AFTER_SECONDS
        reaped = await self.reap() if in_touch else 0
        self.seen_at = time.monotonic()
        return reaped

    async def reap(self, *, dead_after: float = DEAD_AFTER_SECONDS) -> int:
        """Settle the leases of processes whose last beat is `dead_after` seconds ago. Returns how many.

        Raises MeteringUnavailable.
        """
        reaped, pipe = 0, self._meter.pipe
        for shard in every_shard():
            seconds, microseconds = map(int, await pipe.call("TIME"))
            now = seconds + microseconds / 1_000_000
            alive = await self._alive(shard, since=now - dead_after, now=now)
            for tenant_id in await pipe.call("SMEMBERS", busy_key(shard)):
                reaped += await self._reap_tenant(int(tenant_id), alive, since=now - dead_after)
        return reaped

    async def _alive(self, shard: int, *, since: float, now: float) -> set[str]:
        """The workers that have beaten since. Those silent for an hour are removed."""
        pipe, workers = self._meter.pipe, workers_key(shard)
        await pipe.call("ZREMRANGEBYSCORE", workers, "-inf", int((now - 3600) * 1000))
        names = await pipe.call("ZRANGEBYSCORE", workers, int(since * 1000), "+inf")
        return {name.decode() for name in names}

    async def _reap_tenant(self, tenant_id: int, alive: set[str], *, since: float) -> int:
        leases = await self._meter.pipe.call("HGETALL", leases_key(tenant_id))
        reaped = 0
        for request_id, text in zip(leases[::2], leases[1::2], strict=True):
            orphan = self._read(request_id.decode(), tenant_id, text)
            if orphan is None:
                continue
            # A worker that has only just started may not have beaten yet.
            young = orphan.admitted_us / 1_000_000 > since
            if orphan.worker in alive or young:
                continue
            settled = await self._meter.settle(
                _lease(orphan), _charged_at_hold(orphan), state=LeaseState.REAPED
            )
            reaped += settled.first
        return reaped

    def _read(self, request_id: str, tenant_id: int, text: bytes) -> OrphanedLease | None:
        """The lease; `None` if it cannot be read, like one of another version. It then keeps what it holds."""
        try:
            return read(request_id, tenant_id, text)
        except (ValueError, LookupError, msgspec.MsgspecError) as error:
            if request_id not in self._unreadable:
                self._unreadable.add(request_id)
                logger.error("lease %s of tenant %d cannot be read: %r", request_id, tenant_id, error)
            return None


def _lease(orphan: OrphanedLease) -> Lease:
    return Lease(
        request_id=orphan.request_id,
        tenant_id=orphan.tenant_id,
        hold_nano=orphan.hold_nano,
        held_tokens=orphan.held_tokens,
        counters=orphan.counters,
        day_counter=orphan.day_counter,
        offer=NO_OFFER,
        max_tokens=orphan.output_tokens,
        clamped=False,
        event=orphan.event,
        alert_lines=orphan.alert_lines,
    )


def _charged_at_hold(orphan: OrphanedLease) -> CallOutcome:
    """What the call used is unknown, so it is charged what was reserved for it."""
    return CallOutcome(
        usage=Usage(output_tokens=orphan.output_tokens),
        cost_nano=orphan.hold_nano,
        upstream_cost_nano=orphan.hold_nano,
        status=UsageStatus.ORPHANED,
        estimated=True,
        note="The process that made this call crashed. Charged the reserved amount.",
    )
