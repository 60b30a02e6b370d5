"""The meter: one Redis call to admit, one to settle. Nothing reaches the upstream without a lease."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from django.conf import settings

from billing.meter.admission import Admission, AdmissionRequest
from billing.meter.connection.cluster import open_pipe
from billing.meter.connection.protocol import AnswerLost
from billing.meter.errors import BudgetExceeded, MeteringUnavailable
from billing.meter.journal import RecoveryJournal, Settlement, entry_id
from billing.meter.lease import Lease, LeaseState, PricedCandidate, RequestMetadata, Run
from billing.meter.prepared_policy import PreparedPolicies, limit_of
from billing.meter.rebuild import MissingCounter, Rebuilder
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

# Time for every process to put back what it knows: two and a half heartbeats.
QUARANTINE_MS = 2500
# The counter of an end user or a run expires after this time without a call (`admit.lua` renews it).
IDLE_SECONDS = 86400


class StalePolicy(Exception):
    """The policy changed after the snapshot was read: reload it and admit again."""


class Meter:
    """The meter of one process. Its methods raise MeteringUnavailable while Redis is away.

    Constructing it opens nothing: connections and threads start with their first use, on the event loop of that use.
    """

    def __init__(self) -> None:
        self.pipe = open_pipe(settings.REDIS_URL)
        self.journal = RecoveryJournal()
        self.policies = PreparedPolicies()
        self._rebuilder = Rebuilder(self.pipe)

    async def close(self) -> None:
        """Close the connections, and start no more reads of the ledger."""
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

        Raises StalePolicy, a refusal of the error table, or MeteringUnavailable when Redis is away or cold.
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
        """What `admit` would return or raise now, by the same script. Nothing is written."""
        return await self._admitted(
            principal, offers, request_id="", metadata=metadata, run=run, dry_run=True
        )

    async def _admitted(
        self,
        principal: Principal,
        offers: Sequence[PricedCandidate],
        *,
        request_id: str,
        metadata: RequestMetadata,
        run: Run | None,
        dry_run: bool = False,
    ) -> Admission:
        prepared = self.policies.of(principal)
        for _ in range(6):
            request = AdmissionRequest(
                principal, offers, request_id, metadata, run, prepared, dry_run=dry_run
            )
            try:
                reply = await self.pipe.execute(request.call())
            except AnswerLost:
                if not dry_run:
                    self.journal.unconfirmed.append(request.unconfirmed_admission())
                raise
            match reply[0]:
                case b"OK":
                    admission = request.admission(reply)
                    if not dry_run:
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
        """Whether the snapshot is the policy in force: for decisions that no admission confirms."""
        policy = principal.policy
        everyone, tenant = await asyncio.gather(
            self.pipe.call("HGET", shard_key(shard_of(policy.tenant_id)), "policy"),
            self.pipe.call("HGET", tenant_key(policy.tenant_id), "policy"),
        )
        return (everyone, tenant) == (policy.version.everyone.encode(), policy.version.tenant.encode())

    async def settle(
        self, lease: Lease, outcome: CallOutcome, *, state: LeaseState = LeaseState.SETTLED
    ) -> Settled:
        """Replace the lease's hold by what the call cost, and append its usage event. Idempotent by request id."""
        settlement = settlement_of(lease, outcome, state=state)
        settled = self._settled(settlement, await self.pipe.execute(settlement.call))
        self.journal.closed(lease)
        return settled

    def post(
        self, lease: Lease, outcome: CallOutcome, *, otherwise: Callable[[], None]
    ) -> asyncio.Future[Any]:
        """Send a `settle` by the end of this turn of the event loop. Calls `otherwise` if it fails."""
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
        """Send a settle again that Redis may have lost."""
        return self._settled(settlement, await self.pipe.execute(settlement.again))

    def _settled(self, settlement: Settlement, reply: list[Any]) -> Settled:
        """Journal what was settled until it is drained."""
        if reply[0] != b"OK":
            return Settled(first=False, spent_nano=NanoUSD(0), held_nano=NanoUSD(0))
        settled = SettleReply(*reply[1:])
        settlement.entry = entry_id(settled.entry)
        self.journal.settled(settlement)
        return Settled(first=True, spent_nano=settled.spent, held_nano=settled.held)

    async def extend(self, lease: Lease, tokens: int) -> None:
        """Hold for up to `tokens` more of output, as far as every budget has room, and update `lease`.

        Raises BudgetExceeded when there is room for none, MeteringUnavailable when Redis is away or has lost the lease.
        """
        price = lease.offer.output_nano_per_token
        granted = await self._hold_more(lease, tokens, price, of_output=True)
        lease.output_tokens += granted
        lease.hold_nano = NanoUSD(lease.hold_nano + granted * price)

    async def hold_also(self, lease: Lease, nano: int) -> None:
        """Hold all of `nano` nano-USD more, for another model to serve. Raises as `extend` does."""
        while nano > 0:
            granted = await self._hold_more(lease, nano, 1, of_output=False)
            lease.hold_nano = NanoUSD(lease.hold_nano + granted)
            nano -= granted

    async def _hold_more(self, lease: Lease, amount: int, price: int, *, of_output: bool) -> int:
        """Hold up to `amount` units at `price` nano-USD each. Returns for how many there was room, at least 1."""
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
            of_output=int(of_output),
        )
        call = EXTEND.call(keys, arguments)
        reply = await self.pipe.execute(call)
        while reply[0] == b"COLD":
            await self._rebuilder.rebuild(_missing_counter_of(lease, reply[1]))
            reply = await self.pipe.execute(call)
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
        """Give a shard an epoch if it has none: on the first start, or after Redis lost everything."""
        arguments = OpenEpochArguments(
            epoch=uuid.uuid4().hex, quarantine_ms=quarantine_ms, policy_token=uuid.uuid4().hex
        )
        await self.pipe.run(OPEN_EPOCH, OpenEpochKeys(shard=shard_key(shard)), arguments)

    async def rebuild_counters(self, request: AdmissionRequest, missing: Sequence[AdmitKey]) -> None:
        """Restore what `admit.lua` found missing: the shard's epoch, or counters of budgets and the day."""
        if AdmitKey.SHARD in missing:
            await self.open_epoch(shard_of(request.policy.tenant_id))
            return
        await asyncio.gather(*(self._rebuilder.rebuild(_missing_counter(request, key)) for key in missing))


def _missing_counter_of(lease: Lease, number: int) -> MissingCounter:
    """The budget that `extend.lua` names by `number`: its counter left Redis while the call was open."""
    event, name = lease.event, lease.counters[number - 1]
    # Later than `_missing_counter` would have it: 40 days after the period's end, a day after the day's.
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
    """The counter that `admit.lua` misses under `key`."""
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
