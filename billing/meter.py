"""The meter: one call to admit, one to settle. Nothing reaches the upstream without a lease."""

import asyncio
import hashlib
import os
import time
import uuid
import weakref
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from math import ceil
from typing import Any

import msgspec
from django.conf import settings

from billing.downgrades import lines_of
from billing.events import UsageEvent, encode
from billing.lease import Facts, Lease, Offer, Run, head, stored
from billing.memory import Doubt, Memory, Settlement, entry_id
from billing.money import spend_at, to_usd
from billing.periods import Span, day_of, period_of
from billing.rebuild import Cold, warm
from billing.redis_cluster import open_pipe
from billing.redis_pipe import AnswerLost, Argument, RedisPipe, Script
from billing.refusals import (
    BudgetExceeded,
    ConcurrencyLimited,
    DailyTokensExceeded,
    DowngradeDeclined,
    MeteringUnavailable,
    RateLimited,
    UserRateLimited,
)
from billing.usage import Usage
from gateway_project.shards import shard_of, tag, tenant_key
from tenants.policy import BudgetMode, Policy, Principal

WORKER = f"{os.uname().nodename}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
TOMBSTONE_SECONDS = 60
REAPED_SECONDS = 3600
# Time for every process to put back what it knows: two beats and a half.
QUARANTINE_MS = 2500
# An end user's or a run's counter that nobody asked for in this time leaves Redis (`admit.lua` renews it).
IDLE_SECONDS = 86400
SCOPES = ("tenant", "key", "user", "run")

_ADMIT, _SETTLE, _EXTEND, _OPEN_EPOCH = (Script(name) for name in ("admit", "settle", "extend", "open_epoch"))
_pipes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, RedisPipe] = weakref.WeakKeyDictionary()
memory = Memory()
_spans: dict[tuple[str, int], tuple[Span, Span]] = {}


class StalePolicy(Exception):
    """The policy changed since the snapshot was read: reload it and ask again."""


class Admission(msgspec.Struct, frozen=True):
    """A lease, and what the answer's headers say. `None` where no limit is set.

    Requests are those of the window (tenant's, key's or end user's) with the least room, tokens those of the
    day; both with this call, whose tokens are the ones held for it. `open_calls` were open before it;
    `over_shadow`: the limit in shadow would have refused it; `saving`: cheaper models are preferred now.
    """

    lease: Lease
    route: str
    requests_limit: int | None
    requests_used: int
    tokens_limit: int | None
    tokens_used: int
    day_ends: datetime
    admitted_ms: int
    budget_remaining_nano: int | None
    spent_nano: int = 0
    held_nano: int = 0
    open_calls: int = 0
    over_shadow: bool = False
    saving: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """How a call ended. `model` is the one that served; costs in nano-USD, times in milliseconds."""

    usage: Usage
    cost_nano: int
    upstream_cost_nano: int
    saved_nano: int = 0
    status: str = "ok"
    http_status: int | None = None
    model: str | None = None
    price_id: int | None = None
    estimated: bool = False
    latency_ms: int | None = None
    ttft_ms: int | None = None
    upstream_request_id: str = ""
    note: str = ""


class Settled(msgspec.Struct, frozen=True):
    """`first` is false where the call had been settled before. Money in nano-USD."""

    first: bool
    spent_nano: int
    held_nano: int


def pipe() -> RedisPipe:
    """This event loop's connection to Redis."""
    loop = asyncio.get_running_loop()
    found = _pipes.get(loop)
    if found is None:
        found = _pipes[loop] = open_pipe(settings.REDIS_URL)
    return found


def spans(policy: Policy, at: float | None = None) -> tuple[Span, Span]:
    """The tenant's period and day, at epoch second `at` or as last known."""
    place = (policy.timezone, policy.billing_day)
    known = _spans.get(place)
    now = time.time() if at is None else at
    if known is None or at is not None or not known[1].start <= now < known[1].end:
        known = (period_of(now, *place), day_of(now, policy.timezone))
        _spans[place] = known
    return known


async def admit(
    principal: Principal, offers: Sequence[Offer], *, request_id: str, facts: Facts, run: Run | None = None
) -> Admission:
    """Reserve for the first of `offers` that every limit has room for.

    Raises StalePolicy, or the refusal of the error table; MeteringUnavailable when Redis is away or cold.
    """
    admission = await _admitted(principal, offers, request_id=request_id, facts=facts, run=run)
    memory.opened(admission.lease)
    return admission


async def would_admit(
    principal: Principal, offers: Sequence[Offer], *, facts: Facts, run: Run | None = None
) -> Admission:
    """What `admit` would answer or raise now, by the same script; nothing is reserved, no window is touched."""
    return await _admitted(principal, offers, request_id="", facts=facts, run=run, only_asks=True)


async def _admitted(
    principal: Principal,
    offers: Sequence[Offer],
    *,
    request_id: str,
    facts: Facts,
    run: Run | None,
    only_asks: bool = False,
) -> Admission:
    policy = principal.policy
    period, day = spans(policy)
    for _ in range(6):
        request = Asking(principal, offers, request_id, facts, run, period, day, only_asks=only_asks)
        try:
            reply = await pipe().run(_ADMIT, request.keys, request.arguments)
        except AnswerLost:
            if not only_asks:
                memory.doubts.append(request.doubt())
            raise
        match reply[0]:
            case b"OK":
                return request.admission(reply)
            case b"REFUSED":
                raise request.refusal(reply)
            case b"STALE":
                raise StalePolicy
            case b"ROLLOVER":
                period, day = spans(policy, at=reply[1])
            case b"WARMING":
                raise MeteringUnavailable("Metering starts anew; try again in a few seconds.")
            case _:
                await heat(request, reply[1:])
    raise MeteringUnavailable("Counters could not be rebuilt; try again shortly.")


async def is_current(principal: Principal) -> bool:
    """Whether the snapshot is the policy in force: asked before a refusal that needs no admission."""
    policy = principal.policy
    everyone, tenant = await asyncio.gather(
        pipe().call("HGET", f"{tag(shard_of(policy.tenant_id))}:shard", "policy"),
        pipe().call("HGET", tenant_key(policy.tenant_id), "policy"),
    )
    return (everyone, tenant) == (policy.version.everyone.encode(), policy.version.tenant.encode())


async def settle(lease: Lease, outcome: Outcome, *, by: str = "settled") -> Settled:
    """Replace the lease's hold by what the call cost and append its event. Idempotent by request id."""
    settled = await repeat(_settlement(lease, outcome, by=by))
    memory.closed(lease)
    return settled


def post(lease: Lease, outcome: Outcome) -> asyncio.Future[Any]:
    """`settle`, on its way by the end of this loop turn. Where it fails, `settle` is to be called."""
    settlement = _settlement(lease, outcome, by="settled")
    sent = pipe().start(_SETTLE, settlement.keys, settlement.arguments)
    sent.add_done_callback(partial(_posted, lease, settlement))
    return sent


def _posted(lease: Lease, settlement: Settlement, sent: asyncio.Future[Any]) -> None:
    if not sent.cancelled() and sent.exception() is None:
        _settled(settlement, sent.result())
        memory.closed(lease)


def _settlement(lease: Lease, outcome: Outcome, *, by: str) -> Settlement:
    event = msgspec.structs.replace(
        lease.event,
        usage=outcome.usage,
        cost_nano=outcome.cost_nano,
        upstream_cost_nano=outcome.upstream_cost_nano,
        saved_nano=outcome.saved_nano,
        status=outcome.status,
        http_status=outcome.http_status,
        model=outcome.model or lease.event.model,
        price_id=outcome.price_id or lease.event.price_id,
        estimated=outcome.estimated,
        latency_ms=outcome.latency_ms,
        ttft_ms=outcome.ttft_ms,
        upstream_request_id=outcome.upstream_request_id,
        note=outcome.note,
    )
    place, mark = tenant_key(lease.tenant_id), tag(shard_of(lease.tenant_id))
    keys = [f"{place}:leases"]
    keys += [f"{place}:{name}" if name else place for name in lease.counters]
    keys += [
        f"{place}:{lease.day_counter}",
        f"{mark}:busy",
        f"{mark}:usage",
        f"{mark}:done:{lease.request_id}",
    ]
    arguments: list[Argument] = [
        lease.request_id,
        lease.tenant_id,
        lease.hold_nano,
        outcome.cost_nano,
        lease.held_tokens,
        outcome.usage.total_tokens,
        encode(event),
        lease.kept,
        lease.alert_lines,
        REAPED_SECONDS if by == "reaped" else TOMBSTONE_SECONDS,
        by,
    ]
    return Settlement(lease.request_id, (0, 0), keys, arguments)


async def repeat(settlement: Settlement) -> Settled:
    """Make the call that settles, be it for the first time or once more; remember it until it is drained."""
    return _settled(settlement, await pipe().run(_SETTLE, settlement.keys, settlement.arguments))


def _settled(settlement: Settlement, reply: list[Any]) -> Settled:
    if reply[0] != b"OK":
        return Settled(first=False, spent_nano=0, held_nano=0)
    settlement.entry = entry_id(reply[3])
    if settlement.arguments[-1] == "reaped":
        settlement.arguments[-1] = "reaped again"  # by then a flush has taken the lease
    memory.settled(shard_of(int(settlement.arguments[1])), settlement)
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
    place = tenant_key(lease.tenant_id)
    keys = [f"{place}:leases", *(f"{place}:{name}" if name else place for name in lease.counters)]
    limits = (_limit(budget) for budget in lease.budgets)
    reply = await pipe().run(
        _EXTEND, keys, [lease.request_id, amount, price, lease.kept, *limits, int(counted)]
    )
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


async def open_epoch(shard: int, *, quarantine_ms: int = QUARANTINE_MS) -> None:
    """Start a shard's meter where it has no epoch: on the first start, or after everything was lost."""
    await pipe().run(
        _OPEN_EPOCH, [f"{tag(shard)}:shard"], [uuid.uuid4().hex, quarantine_ms, uuid.uuid4().hex]
    )


async def heat(request: "Asking", numbers: Sequence[int]) -> None:
    """Bring back what `admit.lua` found missing: the epoch (1), budgets (7–10), the day (11)."""
    if 1 in numbers:
        await open_epoch(shard_of(request.policy.tenant_id))
        return
    await asyncio.gather(*(warm(pipe(), _cold(request, number)) for number in numbers))


def _cold(request: "Asking", number: int) -> Cold:
    """What `admit.lua` calls `number`, as it is rebuilt."""
    period, day = request.period, request.day
    name = request.day_counter if number == 11 else request.counters[number - 7]
    # Counted from the day's end, which Redis has confirmed; this process's own clock may be wrong.
    ends = {9: day.end + IDLE_SECONDS, 10: day.end + IDLE_SECONDS, 11: day.end + 2 * 86400}
    return Cold(
        tenant_id=request.policy.tenant_id,
        counter=name,
        scope="day" if number == 11 else SCOPES[number - 7],
        period_start=None if name == "b:prepaid" else period.name,
        day=day.name,
        key_id=request.principal.key.id,
        end_user=request.facts.end_user,
        run_id=request.run.id if request.run else "",
        expires_at=ends.get(number, period.end + 40 * 86400),
    )


def _short(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def _limit(value: int | None) -> int:
    return -1 if value is None else value


def _conversation(facts: Facts, offers: Sequence[Offer]) -> str:
    """The conversation's name: its session, else how it began; anew where the choice is another one."""
    if not (facts.session or facts.opening):
        return ""
    begun = facts.session or f"{facts.end_user}\n{facts.opening}"
    return _short("\n".join((*(offer.candidate.model.name for offer in offers), begun)))


class Asking:
    """One admission's keys and arguments; the only place that knows the order `admit.lua` wants."""

    def __init__(
        self,
        principal: Principal,
        offers: Sequence[Offer],
        request_id: str,
        facts: Facts,
        run: Run | None,
        period: Span,
        day: Span,
        *,
        only_asks: bool = False,
    ) -> None:
        policy, key = principal.policy, principal.key
        self.principal, self.policy, self.offers, self.request_id = principal, policy, offers, request_id
        self.facts, self.run, self.period, self.day = facts, run, period, day
        user = _short(facts.end_user) if facts.end_user else ""
        prepaid = policy.budget_mode is BudgetMode.PREPAID
        self.budgets = (
            None if policy.budget_mode is BudgetMode.SOFT else policy.monthly_budget_nano,
            key.monthly_budget_nano,
            policy.user_monthly_budget_nano if user else None,
            run.budget_nano if run else None,
        )
        # Without a limit too: one that is set later has to count the calls that are open by then.
        self.counters = (
            "b:prepaid" if prepaid else f"b:{period.name}",
            f"k:{key.id}:b:{period.name}",
            f"u:{user}:b:{period.name}" if user else "",
            f"r:{_short(run.id)}:b" if run else "",
        )
        self.day_counter = f"d:{day.name}"
        self.held_tokens = offers[0].held_tokens if offers else 0
        budget = policy.monthly_budget_nano
        # Of a prepaid balance the percentages count from the last top-up: at 80 a fifth of it is left.
        counted = budget if policy.alerts_below_nano is None else policy.alerts_below_nano
        self.alert_lines = (
            ",".join(f"{percent}:{spend_at(percent, budget, counted)}" for percent in policy.alert_percents)
            if budget and counted
            else ""
        )
        self.lines = lines_of(policy)
        conversation = _conversation(facts, offers) if self.lines.start >= 0 and len(offers) > 1 else ""
        shadow_limit = policy.shadow.requests_per_minute if policy.shadow else None
        self.events = [self._event(offer) for offer in offers]
        self.stored = stored(WORKER, self.events, self.alert_lines)
        place = tenant_key(policy.tenant_id)
        mark = tag(shard_of(policy.tenant_id))
        limits_user = policy.user_requests_per_minute if user else None
        self.keys = [
            f"{mark}:shard",
            place,
            f"{place}:leases",
            f"{place}:rpm",
            f"{place}:u:{user}:rpm" if limits_user is not None else place,
            f"{place}:k:{key.id}:rpm" if key.requests_per_minute is not None else place,
            *(f"{place}:{name}" if name else place for name in self.counters),
            f"{place}:{self.day_counter}",
            f"{mark}:busy",
            f"{place}:c:{conversation}" if conversation else place,
            f"{place}:shadow:rpm" if shadow_limit is not None else place,
        ]
        self.arguments: list[bytes | str | int] = [
            request_id,
            policy.tenant_id,
            policy.version.everyone,
            policy.version.tenant,
            period.start,
            period.end,
            day.start,
            day.end,
            _limit(policy.requests_per_minute),
            _limit(limits_user),
            _limit(key.requests_per_minute),
            _limit(policy.concurrency),
            _limit(policy.tokens_per_day),
            *(_limit(value) for value in self.budgets),
            self.lines.start,
            self.lines.end,
            settings.CONVERSATION_SECONDS if conversation else 0,
            _limit(shadow_limit),
            int(only_asks),
            self.held_tokens,
            head(self.counters, self.day_counter),
            self.stored,
        ]
        for offer in offers:
            self.arguments += (
                int(offer.candidate.skip_from_percent is not None),
                offer.input_hold_nano,
                offer.output_nano_per_token,
                offer.max_tokens,
                offer.min_output_tokens,
                offer.held_tokens,
            )

    def doubt(self) -> Doubt:
        """How to take this admission back, in the order `void.lua` wants."""
        keys = [self.keys[2], *self.keys[6:12], *self.keys[3:6]]
        windows = "".join("1" if key != self.keys[1] else "0" for key in self.keys[3:6])
        kept = "".join("1" if name else "0" for name in self.counters)
        shard = shard_of(self.policy.tenant_id)
        return Doubt(shard, keys, [self.request_id, self.policy.tenant_id, kept, windows])

    def _event(self, offer: Offer) -> UsageEvent:
        facts = self.facts
        return UsageEvent(
            request_id=self.request_id,
            tenant_id=self.policy.tenant_id,
            key_id=self.principal.key.id,
            day=self.day.name,
            period_start=self.period.name,
            wire=facts.wire,
            model=offer.candidate.model.name,
            model_preferred="" if offer is self.offers[0] else self.offers[0].candidate.model.name,
            route=offer.candidate.why,
            price_id=offer.price_id,
            end_user=facts.end_user,
            session=facts.session,
            run_id=self.run.id if self.run else "",
            model_requested=facts.model_requested,
            stream=facts.stream,
            tags=facts.tags,
            budget_nano=self.policy.monthly_budget_nano,
            text_bytes=facts.text_bytes,
            message_count=facts.message_count,
            tool_count=facts.tool_count,
            keyword=facts.keyword,
        )

    def admission(self, reply: list[int]) -> Admission:
        _, index, max_tokens, paid, hold, clamped, spent, held, *more = reply
        limit, requests, tokens, now_us, open_calls, over_shadow, saving = more
        offer, event = self.offers[index - 1], self.events[index - 1]
        if clamped:
            event.route = f"{event.route}+clamped"
        budget = self.policy.monthly_budget_nano
        lease = Lease(
            request_id=self.request_id,
            tenant_id=self.policy.tenant_id,
            hold_nano=hold,
            held_tokens=self.held_tokens,
            counters=self.counters,
            day_counter=self.day_counter,
            offer=offer,
            max_tokens=max_tokens,
            clamped=bool(clamped),
            event=event,
            alert_lines=self.alert_lines,
            worker=WORKER,
            budgets=self.budgets,
            resets_at=None if self.counters[0] == "b:prepaid" else self.period.ends_at,
            output_tokens=paid,
            index=index,
            admitted_us=now_us,
            facts=self.stored,
        )
        return Admission(
            lease=lease,
            route=event.route,
            requests_limit=None if limit < 0 else limit,
            requests_used=requests,
            tokens_limit=self.policy.tokens_per_day,
            tokens_used=tokens,
            day_ends=self.day.ends_at,
            admitted_ms=now_us // 1000,
            budget_remaining_nano=None if budget is None else budget - spent - (held - hold),
            spent_nano=spent,
            held_nano=held,
            open_calls=open_calls,
            over_shadow=bool(over_shadow),
            saving=bool(saving),
        )

    def refusal(self, reply: list[bytes | int]) -> Exception:
        policy = self.policy
        match reply[1]:
            case b"rate":
                limit = policy.requests_per_minute
                return RateLimited(
                    f"The limit of {limit} requests a minute is reached.", retry_ms=int(reply[2]), limit=limit
                )
            case b"key_rate":
                limit = self.principal.key.requests_per_minute
                return RateLimited(
                    f"This key's {limit} requests a minute are used up.", retry_ms=int(reply[2]), limit=limit
                )
            case b"user_rate":
                limit = policy.user_requests_per_minute
                return UserRateLimited(
                    f"This end user's {limit} requests a minute are used up.",
                    retry_ms=int(reply[2]),
                    limit=limit,
                )
            case b"concurrency":
                return ConcurrencyLimited(f"{policy.concurrency} requests are already open.", retry_ms=1000)
            case b"tokens":
                seconds = max(1, ceil(self.day.end - time.time()))
                return DailyTokensExceeded(limit=policy.tokens_per_day or 0, seconds=seconds)
        number = int(reply[2]) - 7
        forever = number == 3 or (number == 0 and policy.budget_mode is BudgetMode.PREPAID)
        refusal = DowngradeDeclined if reply[1] == b"declined" else BudgetExceeded
        return refusal(
            scope=SCOPES[number],
            spend_usd=to_usd(int(reply[3])),
            budget_usd=to_usd(self.budgets[number] or 0),
            resets_at=None if forever else self.period.ends_at,
        )
