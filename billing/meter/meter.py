"""The meter: one call to admit, one to settle. Nothing reaches the upstream without a lease."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from django.conf import settings

from billing.meter.admission import Admission, AdmissionRequest
from billing.meter.errors import BudgetExceeded, MeteringUnavailable
from billing.meter.journal import RecoveryJournal, Settlement, entry_id
from billing.meter.lease import Lease, LeaseState, PricedCandidate, RequestMetadata, Run
from billing.meter.prepared_policy import PreparedPolicies, limit_of
from billing.meter.rebuild import MissingCounter, Rebuilder
from billing.meter.redis_cluster import open_pipe
from billing.meter.redis_pipe import AnswerLost
from billing.meter.scripts import (
    BUDGET_KEYS,
    EXTEND,
    OPEN_EPOCH,
    SCOPES,
    AdmitKey,
    ExtendArguments,
    ExtendKeys,
    OpenEpochArguments,
    OpenEpochKeys,
    SettleReply,
)
from billing.meter.settlement import CallOutcome, Settled, settlement_of
from gateway_project.ground.money import NanoUSD, to_usd
from gateway_project.ground.redis_keys import (
    PREPAID_COUNTER,
    leases_key,
    named_keys,
    shard_key,
    shard_of,
    tenant_key,
)
from tenants.policy import Principal

# Time for every process to put back what it knows: two beats and a half.
QUARANTINE_MS = 2500
# An end user's or a run's counter that nobody asked for in this time leaves Redis (`admit.lua` renews it).
IDLE_SECONDS = 86400


class StalePolicy(Exception):
    """The policy changed since the snapshot was read: reload it and ask again."""


class Meter:
    """One process's. To make one opens nothing: connections and threads begin with their first use, on the event loop
    that uses it first.
    """

    def __init__(self) -> None:
        self.pipe = open_pipe(settings.REDIS_URL)
        self.journal = RecoveryJournal()
        self.policies = PreparedPolicies()
        self._rebuilder = Rebuilder(self.pipe)

    async def close(self) -> None:
        """Let the connections go."""
        self._rebuilder.close()
        await self.pipe.close()

    def admit(
        self,
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
        return self._admitted(principal, offers, request_id=request_id, metadata=metadata, run=run)

    async def would_admit(
        self,
        principal: Principal,
        offers: Sequence[PricedCandidate],
        *,
        metadata: RequestMetadata,
        run: Run | None = None,
    ) -> Admission:
        """What `admit` would answer or raise now, by the same script; nothing is reserved, no window is touched."""
        return await self._admitted(
            principal, offers, request_id="", metadata=metadata, run=run, only_asks=True
        )

    async def _admitted(
        self,
        principal: Principal,
        offers: Sequence[PricedCandidate],
        *,
        request_id: str,
        metadata: RequestMetadata,
        run: Run | None,
        only_asks: bool = False,
    ) -> Admission:
        prepared = self.policies.of(principal)
        for _ in range(6):
            request = AdmissionRequest(
                principal, offers, request_id, metadata, run, prepared, only_asks=only_asks
            )
            try:
                reply = await self.pipe.make(request.call())
            except AnswerLost:
                if not only_asks:
                    self.journal.unconfirmed.append(request.unconfirmed_admission())
                raise
            match reply[0]:
                case b"OK":
                    admission = request.admission(reply)
                    if not only_asks:
                        self.journal.opened(admission.lease)
                    return admission
                case b"REFUSED":
                    raise request.refusal(reply)
                case b"STALE":
                    raise StalePolicy
                case b"ROLLOVER":
                    prepared = self.policies.of(principal, at=reply[1])
                case b"WARMING":
                    raise MeteringUnavailable("Metering is restarting. Try again in a few seconds.")
                case _:
                    await self.rebuild_counters(request, [AdmitKey(number) for number in reply[1:]])
        raise MeteringUnavailable("Counters could not be rebuilt. Try again shortly.")

    async def is_current(self, principal: Principal) -> bool:
        """Whether the snapshot is the policy in force: asked before a refusal that needs no admission."""
        policy = principal.policy
        everyone, tenant = await asyncio.gather(
            self.pipe.call("HGET", shard_key(shard_of(policy.tenant_id)), "policy"),
            self.pipe.call("HGET", tenant_key(policy.tenant_id), "policy"),
        )
        return (everyone, tenant) == (policy.version.everyone.encode(), policy.version.tenant.encode())

    async def settle(
        self, lease: Lease, outcome: CallOutcome, *, state: LeaseState = LeaseState.SETTLED
    ) -> Settled:
        """Replace the lease's hold by what the call cost and append its event. Idempotent by request id."""
        settlement = settlement_of(lease, outcome, state=state)
        settled = self._settled(settlement, await self.pipe.make(settlement.call))
        self.journal.closed(lease)
        return settled

    def post(
        self, lease: Lease, outcome: CallOutcome, *, otherwise: Callable[[], None]
    ) -> asyncio.Future[Any]:
        """`settle`, on its way by the end of this loop turn. Where it fails, `otherwise` is called."""
        settlement = settlement_of(lease, outcome, state=LeaseState.SETTLED)
        sent = self.pipe.start(settlement.call)
        sent.add_done_callback(partial(self._posted, lease, settlement, otherwise))
        return sent

    def _posted(
        self, lease: Lease, settlement: Settlement, otherwise: Callable[[], None], sent: asyncio.Future[Any]
    ) -> None:
        if sent.cancelled() or sent.exception() is not None:
            otherwise()
            return
        self._settled(settlement, sent.result())
        self.journal.closed(lease)

    async def repeat(self, settlement: Settlement) -> Settled:
        """Settle once more what Redis may have lost."""
        return self._settled(settlement, await self.pipe.make(settlement.again))

    def _settled(self, settlement: Settlement, reply: list[Any]) -> Settled:
        """Remember what was settled until it is drained."""
        if reply[0] != b"OK":
            return Settled(first=False, spent_nano=NanoUSD(0), held_nano=NanoUSD(0))
        settled = SettleReply(*reply[1:])
        settlement.entry = entry_id(settled.entry)
        self.journal.settled(settlement)
        return Settled(first=True, spent_nano=settled.spent, held_nano=settled.held)

    async def extend(self, lease: Lease, tokens: int) -> None:
        """Hold for up to `tokens` more of output, as far as every budget has room; `lease` says what it got.

        Raises BudgetExceeded when there is room for none, MeteringUnavailable when Redis is away or has lost
        the lease.
        """
        price = lease.offer.output_nano_per_token
        granted = await self._hold_more(lease, tokens, price, counted=True)
        lease.output_tokens += granted
        lease.hold_nano = NanoUSD(lease.hold_nano + granted * price)

    async def hold_also(self, lease: Lease, nano: int) -> None:
        """Hold for `nano` more, all of it: another model is to serve. Raises as `extend` does."""
        while nano > 0:
            granted = await self._hold_more(lease, nano, 1, counted=False)
            lease.hold_nano = NanoUSD(lease.hold_nano + granted)
            nano -= granted

    async def _hold_more(self, lease: Lease, amount: int, price: int, *, counted: bool) -> int:
        tenant_budget, key_budget, user_budget, run_budget = named_keys(
            tenant_key(lease.tenant_id), lease.counters
        )
        keys = ExtendKeys(
            leases=leases_key(lease.tenant_id),
            tenant_budget=tenant_budget,
            key_budget=key_budget,
            user_budget=user_budget,
            run_budget=run_budget,
        )
        tenant_limit, key_limit, user_limit, run_limit = map(limit_of, lease.budgets)
        arguments = ExtendArguments(
            request_id=lease.request_id,
            tokens=amount,
            price=price,
            kept=lease.kept,
            tenant_limit=tenant_limit,
            key_limit=key_limit,
            user_limit=user_limit,
            run_limit=run_limit,
            of_output=int(counted),
        )
        asked = EXTEND.call(keys, arguments)
        reply = await self.pipe.make(asked)
        while reply[0] == b"COLD":
            await self._rebuilder.rebuild(_missing_counter_of(lease, reply[1]))
            reply = await self.pipe.make(asked)
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

    async def open_epoch(self, shard: int, *, quarantine_ms: int = QUARANTINE_MS) -> None:
        """Start a shard's meter where it has no epoch: on the first start, or after everything was lost."""
        arguments = OpenEpochArguments(
            epoch=uuid.uuid4().hex, quarantine_ms=quarantine_ms, policy_token=uuid.uuid4().hex
        )
        await self.pipe.run(OPEN_EPOCH, OpenEpochKeys(shard=shard_key(shard)), arguments)

    async def rebuild_counters(self, request: AdmissionRequest, missing: Sequence[AdmitKey]) -> None:
        """Bring back what `admit.lua` found missing: the shard's epoch, budgets, the day."""
        if AdmitKey.SHARD in missing:
            await self.open_epoch(shard_of(request.policy.tenant_id))
            return
        await asyncio.gather(*(self._rebuilder.rebuild(_missing_counter(request, key)) for key in missing))


def _missing_counter_of(lease: Lease, number: int) -> MissingCounter:
    """What `extend.lua` calls `number`: a counter that left Redis while the call is open."""
    event, name = lease.event, lease.counters[number - 1]
    # Not before it would by `_missing_counter`: 40 days after the period, a day after the day.
    days = 72 if number <= 2 else 3
    return MissingCounter(
        tenant_id=lease.tenant_id,
        counter=name,
        scope=SCOPES[number - 1],
        period_start=None if name == PREPAID_COUNTER else event.period_start,
        day=event.day,
        key_id=event.key_id or 0,
        end_user=event.end_user,
        run_id=event.run_id,
        expires_at=lease.admitted_us // 1_000_000 + days * 86400,
    )


def _missing_counter(request: AdmissionRequest, key: AdmitKey) -> MissingCounter:
    """What `admit.lua` misses under `key`, as it is rebuilt."""
    prepared = request.prepared
    period, day = prepared.period, prepared.day
    if key is AdmitKey.DAY:
        scope, name = "day", prepared.day_counter
    else:
        index = BUDGET_KEYS.index(key)
        scope, name = SCOPES[index], request.counters[index]
    # Counted from the day's end, which Redis has confirmed; this process's own clock may be wrong.
    idle_ends = day.end + IDLE_SECONDS
    ends = {
        AdmitKey.USER_BUDGET: idle_ends,
        AdmitKey.RUN_BUDGET: idle_ends,
        AdmitKey.DAY: day.end + 2 * 86400,
    }
    return MissingCounter(
        tenant_id=request.policy.tenant_id,
        counter=name,
        scope=scope,
        period_start=None if name == PREPAID_COUNTER else period.name,
        day=day.name,
        key_id=request.principal.key.id,
        end_user=request.metadata.end_user,
        run_id=request.run.id if request.run else "",
        expires_at=ends.get(key, period.end + 40 * 86400),
    )
