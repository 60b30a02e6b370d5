"""One settle: its usage event, and its call of `settle.lua`."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import astuple, replace

from billing.events import encode
from billing.meter.connection.script import ScriptCall, bulk
from billing.meter.journal import Settlement
from billing.meter.lease import Lease, LeaseState
from billing.meter.scripts import SETTLE, SettleArguments, SettleKeys
from billing.models import UsageStatus
from billing.usage import Usage
from gateway_project.ground.money import NanoUSD
from gateway_project.ground.redis_keys import (
    busy_key,
    leases_key,
    named_keys,
    shard_of,
    tenant_key,
    tombstone_key,
    usage_stream,
)

TOMBSTONE_SECONDS = 60
REAPED_SECONDS = 3600
_SETTLED = LeaseState.SETTLED  # looked up once: a member of an enum costs 0.2 µs each time
_text = str.__str__  # a member's text, which msgspec can compare with the field's default and leave out


class CallOutcome(msgspec.Struct, frozen=True):
    """How a call ended. `model` is the one that served (`None`: the admitted one). Nano-USD and milliseconds."""

    usage: Usage
    cost_nano: NanoUSD
    upstream_cost_nano: NanoUSD
    saved_nano: NanoUSD = NanoUSD(0)
    status: UsageStatus = UsageStatus.OK
    http_status: int | None = None
    model: str | None = None
    price_id: int | None = None
    estimated: bool = False
    latency_ms: int | None = None
    ttft_ms: int | None = None
    upstream_request_id: str = ""
    note: str = ""


class Settled(msgspec.Struct, frozen=True):
    """The tenant's spend and holds after a settle, in nano-USD; zeros with `first` false if it was settled before."""

    first: bool
    spent_nano: NanoUSD
    held_nano: NanoUSD


def packed_settle_keys(tenant_id: int, counters: Sequence[str], day_counter: str) -> bytes:
    """Every key of `settle.lua` but the last one, the tombstone, which belongs to one request."""
    shard, key_prefix = shard_of(tenant_id), tenant_key(tenant_id)
    tenant_budget, key_budget, user_budget, run_budget, day = named_keys(key_prefix, (*counters, day_counter))
    keys = SettleKeys(
        leases=leases_key(tenant_id),
        tenant_budget=tenant_budget,
        key_budget=key_budget,
        user_budget=user_budget,
        run_budget=run_budget,
        day=day,
        busy=busy_key(shard),
        usage=usage_stream(shard),
        tombstone="",
    )
    return bulk(*keys[:-1])


def settlement_of(lease: Lease, outcome: CallOutcome, *, state: LeaseState) -> Settlement:
    """The settle of `lease` as `outcome` says; with `state` REAPED, for a process that is dead."""
    event = encode(
        replace(
            lease.event,
            usage=outcome.usage,
            cost_nano=outcome.cost_nano,
            upstream_cost_nano=outcome.upstream_cost_nano,
            saved_nano=outcome.saved_nano,
            status=_text(outcome.status),
            http_status=outcome.http_status,
            model=outcome.model or lease.event.model,
            price_id=outcome.price_id or lease.event.price_id,
            estimated=outcome.estimated,
            latency_ms=outcome.latency_ms,
            ttft_ms=outcome.ttft_ms,
            upstream_request_id=outcome.upstream_request_id,
            note=outcome.note,
        )
    )
    settling = settle_call(
        lease, cost_nano=outcome.cost_nano, tokens=outcome.usage.total_tokens, event=event, state=state
    )
    # A repeat after a flush finds no lease, and must then settle all the same.
    again = settling
    if state is not _SETTLED:
        again = settle_call(
            lease,
            cost_nano=outcome.cost_nano,
            tokens=outcome.usage.total_tokens,
            event=event,
            state=state,
            repeats=True,
        )
    return Settlement(lease.request_id, lease.tenant_id, event, settling, again)


def settle_call(
    lease: Lease,
    *,
    cost_nano: NanoUSD,
    tokens: int,
    event: bytes,
    state: LeaseState,
    repeats: bool = False,
) -> ScriptCall:
    """The call of `settle.lua`. `event` is the ledger row as the usage stream takes it."""
    keys = lease.settle_keys or packed_settle_keys(lease.tenant_id, lease.counters, lease.day_counter)
    tombstone = tombstone_key(shard_of(lease.tenant_id), lease.request_id)
    arguments = SettleArguments(
        request_id=lease.request_id,
        tenant_id=lease.tenant_id,
        hold=lease.hold_nano,
        cost=cost_nano,
        held_tokens=lease.held_tokens,
        used_tokens=tokens,
        event=event,
        kept=lease.kept,
        alert_lines=lease.alert_lines,
        tombstone_seconds=TOMBSTONE_SECONDS if state is _SETTLED else REAPED_SECONDS,
        state=state,
        repeats=int(repeats),
    )
    body = b"%b%b%b" % (_COUNT, keys, bulk(tombstone, *astuple(arguments)))
    return ScriptCall(SETTLE, tombstone, body, _ALL)


_KEYS = len(SettleKeys._fields)
_COUNT = bulk(_KEYS)
_ALL = 1 + _KEYS + len(SettleArguments.__struct_fields__)
