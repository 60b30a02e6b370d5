"""The meter: one call to admit, one to settle. Nothing reaches the upstream without a lease."""

import asyncio
import uuid
import weakref
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from django.conf import settings

from billing.meter.admission import SCOPES, Admission, AdmissionRequest
from billing.meter.errors import BudgetExceeded, MeteringUnavailable
from billing.meter.journal import WORKER, RecoveryJournal, Settlement, entry_id
from billing.meter.lease import Lease, PricedCandidate, RequestMetadata, Run
from billing.meter.prepared_policy import prepared_policy_of, spans
from billing.meter.rebuild import MissingCounter, rebuild_missing
from billing.meter.redis_cluster import open_pipe
from billing.meter.redis_pipe import AnswerLost, RedisPipe, Script
from billing.meter.settlement import REAPED_SECONDS, CallOutcome, Settled, settlement_of
from gateway_project.ground.money import to_usd
from gateway_project.ground.redis_keys import shard_of, tag, tenant_key
from tenants.policy import Principal

__all__ = [
    "REAPED_SECONDS", "SCOPES", "WORKER", "Admission", "AdmissionRequest", "CallOutcome", "StalePolicy",
    "admit", "extend", "hold_also", "is_current", "open_epoch", "pipe", "post", "rebuild_counters",
    "recovery", "repeat", "settle", "spans", "would_admit",
]  # fmt: skip

# Time for every process to put back what it knows: two beats and a half.
QUARANTINE_MS = 2500
# An end user's or a run's counter that nobody asked for in this time leaves Redis (`admit.lua` renews it).
IDLE_SECONDS = 86400

_EXTEND, _OPEN_EPOCH = Script("extend"), Script("open_epoch")
_pipes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, RedisPipe] = weakref.WeakKeyDictionary()
recovery = RecoveryJournal()


class StalePolicy(Exception):
    """The policy changed since the snapshot was read: reload it and ask again."""


def pipe() -> RedisPipe:
    """This event loop's connection to Redis."""
    loop = asyncio.get_running_loop()
    found = _pipes.get(loop)
    if found is None:
        found = _pipes[loop] = open_pipe(settings.REDIS_URL)
    return found


def admit(
    principal: Principal,
    offers: Sequence[PricedCandidate],
    *,
    request_id: str,
    metadata: RequestMetadata,
    run: Run | None = None,
) -> Coroutine[Any, Any, Admission]:
    """Reserve for the first of `offers` that every limit has room for.

    Raises StalePolicy, or the refusal of the error table; MeteringUnavailable when Redis is away or cold.
    """
    return _admitted(principal, offers, request_id=request_id, metadata=metadata, run=run)


async def would_admit(
    principal: Principal,
    offers: Sequence[PricedCandidate],
    *,
    metadata: RequestMetadata,
    run: Run | None = None,
) -> Admission:
    """What `admit` would answer or raise now, by the same script; nothing is reserved, no window is touched."""
    return await _admitted(principal, offers, request_id="", metadata=metadata, run=run, only_asks=True)


async def _admitted(
    principal: Principal,
    offers: Sequence[PricedCandidate],
    *,
    request_id: str,
    metadata: RequestMetadata,
    run: Run | None,
    only_asks: bool = False,
) -> Admission:
    prepared = prepared_policy_of(principal)
    for _ in range(6):
        request = AdmissionRequest(
            principal, offers, request_id, metadata, run, prepared, only_asks=only_asks
        )
        try:
            reply = await pipe().make(request.call())
        except AnswerLost:
            if not only_asks:
                recovery.unconfirmed.append(request.unconfirmed_admission())
            raise
        match reply[0]:
            case b"OK":
                admission = request.admission(reply)
                if not only_asks:
                    recovery.opened(admission.lease)
                return admission
            case b"REFUSED":
                raise request.refusal(reply)
            case b"STALE":
                raise StalePolicy
            case b"ROLLOVER":
                prepared = prepared_policy_of(principal, at=reply[1])
            case b"WARMING":
                raise MeteringUnavailable("Metering starts anew; try again in a few seconds.")
            case _:
                await rebuild_counters(request, reply[1:])
    raise MeteringUnavailable("Counters could not be rebuilt; try again shortly.")


async def is_current(principal: Principal) -> bool:
    """Whether the snapshot is the policy in force: asked before a refusal that needs no admission."""
    policy = principal.policy
    everyone, tenant = await asyncio.gather(
        pipe().call("HGET", f"{tag(shard_of(policy.tenant_id))}:shard", "policy"),
        pipe().call("HGET", tenant_key(policy.tenant_id), "policy"),
    )
    return (everyone, tenant) == (policy.version.everyone.encode(), policy.version.tenant.encode())


async def settle(lease: Lease, outcome: CallOutcome, *, by: str = "settled") -> Settled:
    """Replace the lease's hold by what the call cost and append its event. Idempotent by request id."""
    settlement = settlement_of(lease, outcome, by=by)
    settled = _settled(settlement, await pipe().make(settlement.call))
    recovery.closed(lease)
    return settled


def post(lease: Lease, outcome: CallOutcome, *, otherwise: Callable[[], None]) -> asyncio.Future[Any]:
    """`settle`, on its way by the end of this loop turn. Where it fails, `otherwise` is called."""
    settlement = settlement_of(lease, outcome, by="settled")
    sent = pipe().start(settlement.call)
    sent.add_done_callback(partial(_posted, lease, settlement, otherwise))
    return sent


def _posted(
    lease: Lease, settlement: Settlement, otherwise: Callable[[], None], sent: asyncio.Future[Any]
) -> None:
    if sent.cancelled() or sent.exception() is not None:
        otherwise()
        return
    _settled(settlement, sent.result())
    recovery.closed(lease)


async def repeat(settlement: Settlement) -> Settled:
    """Settle once more what Redis may have lost."""
    return _settled(settlement, await pipe().make(settlement.again))


def _settled(settlement: Settlement, reply: list[Any]) -> Settled:
    """Remember what was settled until it is drained."""
    if reply[0] != b"OK":
        return Settled(first=False, spent_nano=0, held_nano=0)
    settlement.entry = entry_id(reply[3])
    recovery.settled(settlement)
    return Settled(first=True, spent_nano=reply[1], held_nano=reply[2])


async def extend(lease: Lease, tokens: int) -> None:
    """Hold for up to `tokens` more of output, as far as every budget has room; `lease` says what it got.

    Raises BudgetExceeded when there is room for none, MeteringUnavailable when Redis is away or has lost
    the lease.
    """
    price = lease.offer.output_nano_per_token
    granted = await _hold_more(lease, tokens, price, counted=True)
    lease.output_tokens += granted
    lease.hold_nano += granted * price


async def hold_also(lease: Lease, nano: int) -> None:
    """Hold for `nano` more, all of it: another model is to serve. Raises as `extend` does."""
    while nano > 0:
        granted = await _hold_more(lease, nano, 1, counted=False)
        lease.hold_nano += granted
        nano -= granted


async def _hold_more(lease: Lease, amount: int, price: int, *, counted: bool) -> int:
    key_prefix = tenant_key(lease.tenant_id)
    keys = [
        f"{key_prefix}:leases",
        *(f"{key_prefix}:{name}" if name else key_prefix for name in lease.counters),
    ]
    limits = (-1 if budget is None else budget for budget in lease.budgets)
    asked = _EXTEND.call(keys, [lease.request_id, amount, price, lease.kept, *limits, int(counted)])
    reply = await pipe().make(asked)
    while reply[0] == b"COLD":
        await rebuild_missing(pipe(), _missing_counter_of(lease, reply[1]))
        reply = await pipe().make(asked)
    if reply[0] == b"GONE":
        raise MeteringUnavailable("The metering store has lost this call's reservation.")
    if reply[0] == b"REFUSED":
        _, number, spent, _ = reply
        raise BudgetExceeded(
            scope=SCOPES[number - 1],
            spend_usd=to_usd(spent),
            budget_usd=to_usd(lease.budgets[number - 1] or 0),
            resets_at=None if number == 4 else lease.resets_at,
        )
    granted: int = reply[1]
    return granted


def _missing_counter_of(lease: Lease, number: int) -> MissingCounter:
    """What `extend.lua` calls `number`: a counter that left Redis while the call is open."""
    event, name = lease.event, lease.counters[number - 1]
    # Not before it would by `_missing_counter`: 40 days after the period, a day after the day.
    days = 72 if number <= 2 else 3
    return MissingCounter(
        tenant_id=lease.tenant_id,
        counter=name,
        scope=SCOPES[number - 1],
        period_start=None if name == "b:prepaid" else event.period_start,
        day=event.day,
        key_id=event.key_id or 0,
        end_user=event.end_user,
        run_id=event.run_id,
        expires_at=lease.admitted_us // 1_000_000 + days * 86400,
    )


async def open_epoch(shard: int, *, quarantine_ms: int = QUARANTINE_MS) -> None:
    """Start a shard's meter where it has no epoch: on the first start, or after everything was lost."""
    await pipe().run(
        _OPEN_EPOCH, [f"{tag(shard)}:shard"], [uuid.uuid4().hex, quarantine_ms, uuid.uuid4().hex]
    )


async def rebuild_counters(request: AdmissionRequest, numbers: Sequence[int]) -> None:
    """Bring back what `admit.lua` found missing: the epoch (1), budgets (7–10), the day (11)."""
    if 1 in numbers:
        await open_epoch(shard_of(request.policy.tenant_id))
        return
    await asyncio.gather(*(rebuild_missing(pipe(), _missing_counter(request, number)) for number in numbers))


def _missing_counter(request: AdmissionRequest, number: int) -> MissingCounter:
    """What `admit.lua` calls `number`, as it is rebuilt."""
    prepared = request.prepared
    period, day = prepared.period, prepared.day
    name = prepared.day_counter if number == 11 else request.counters[number - 7]
    # Counted from the day's end, which Redis has confirmed; this process's own clock may be wrong.
    ends = {9: day.end + IDLE_SECONDS, 10: day.end + IDLE_SECONDS, 11: day.end + 2 * 86400}
    return MissingCounter(
        tenant_id=request.policy.tenant_id,
        counter=name,
        scope="day" if number == 11 else SCOPES[number - 7],
        period_start=None if name == "b:prepaid" else period.name,
        day=day.name,
        key_id=request.principal.key.id,
        end_user=request.metadata.end_user,
        run_id=request.run.id if request.run else "",
        expires_at=ends.get(number, period.end + 40 * 86400),
    )
