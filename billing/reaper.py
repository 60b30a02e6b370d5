"""Leases of the dead: settled at what they held, flagged; no budget leaks and no call is lost."""

import time

from billing.lease import Lease, Offer, OrphanedLease, read
from billing.meter import Outcome, pipe, settle
from billing.usage import Usage
from gateway_project.shards import every_tag, tenant_key
from routing.choice import Candidate, CatalogueModel

DEAD_AFTER_SECONDS = 10
_NOBODY = CatalogueModel(0, "", "", "", 0, 0, None, None, False)


async def reap(*, dead_after: float = DEAD_AFTER_SECONDS) -> int:
    """Settle the leases of processes that have not been heard of for `dead_after` seconds; how many."""
    reaped = 0
    for tag in every_tag():
        alive = await _alive(tag, dead_after)
        for tenant_id in await pipe().call("SMEMBERS", f"{tag}:busy"):
            reaped += await _reap_tenant(int(tenant_id), alive, dead_after)
    return reaped


async def _alive(tag: str, dead_after: float) -> set[str]:
    """Workers heard of lately. Those silent for an hour are forgotten."""
    now = time.time()
    await pipe().call("ZREMRANGEBYSCORE", f"{tag}:workers", "-inf", int((now - 3600) * 1000))
    names = await pipe().call("ZRANGEBYSCORE", f"{tag}:workers", int((now - dead_after) * 1000), "+inf")
    return {name.decode() for name in names}


async def _reap_tenant(tenant_id: int, alive: set[str], dead_after: float) -> int:
    leases = await pipe().call("HGETALL", f"{tenant_key(tenant_id)}:leases")
    reaped = 0
    for request_id, text in zip(leases[::2], leases[1::2], strict=True):
        orphan = read(request_id.decode(), tenant_id, text)
        # A worker that has only just begun may not have been heard of yet.
        young = time.time() - orphan.admitted_us / 1_000_000 < dead_after
        if orphan.worker in alive or young:
            continue
        reaped += (await settle(_lease(orphan), _worst(orphan), by="reaped")).first
    return reaped


def _lease(orphan: OrphanedLease) -> Lease:
    return Lease(
        request_id=orphan.request_id,
        tenant_id=orphan.tenant_id,
        hold_nano=orphan.hold_nano,
        held_tokens=orphan.held_tokens,
        counters=orphan.counters,
        day_counter=orphan.day_counter,
        offer=Offer(Candidate(_NOBODY, ""), None, 0, 0, 0),
        max_tokens=orphan.output_tokens,
        clamped=False,
        event=orphan.event,
        alert_lines=orphan.alert_lines,
    )


def _worst(orphan: OrphanedLease) -> Outcome:
    """Nobody knows what the call used: it is charged what was reserved for it."""
    return Outcome(
        usage=Usage(output_tokens=orphan.output_tokens),
        cost_nano=orphan.hold_nano,
        upstream_cost_nano=orphan.hold_nano,
        status="orphaned",
        estimated=True,
        note="The process that made this call died; charged at its reservation.",
    )
