"""What one settle asks `settle.lua` for. Only this module knows the order."""

from collections.abc import Sequence

import msgspec

from billing.events import encode
from billing.meter.journal import Settlement
from billing.meter.lease import Lease
from billing.meter.redis_pipe import Argument, Script, ScriptCall, bulk
from billing.models import UsageStatus
from billing.usage import Usage
from gateway_project.ground.redis_keys import shard_of, tag, tenant_key

TOMBSTONE_SECONDS = 60
REAPED_SECONDS = 3600
_SETTLE = Script("settle")
_KEYS = 9


class CallOutcome(msgspec.Struct, frozen=True):
    """How a call ended. `model` is the one that served; costs in nano-USD, times in milliseconds."""

    usage: Usage
    cost_nano: int
    upstream_cost_nano: int
    saved_nano: int = 0
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
    """`first` is false where the call had been settled before. Money in nano-USD."""

    first: bool
    spent_nano: int
    held_nano: int


def settle_keys(tenant_id: int, counters: Sequence[str], day_counter: str) -> list[str]:
    """Every key of `settle.lua` but the last, which is the request's own."""
    key_prefix, hash_tag = tenant_key(tenant_id), tag(shard_of(tenant_id))
    names = ("leases", *counters, day_counter)
    return [
        *(f"{key_prefix}:{name}" if name else key_prefix for name in names),
        f"{hash_tag}:busy",
        f"{hash_tag}:usage",
    ]


def settlement_of(lease: Lease, outcome: CallOutcome, *, by: str) -> Settlement:
    """The call that settles. `by`: 'settled', or 'reaped' where the process that admitted is dead."""
    event = encode(
        msgspec.structs.replace(
            lease.event,
            usage=outcome.usage,
            cost_nano=outcome.cost_nano,
            upstream_cost_nano=outcome.upstream_cost_nano,
            saved_nano=outcome.saved_nano,
            status=outcome.status.value,  # as text: an enum member is written even where it is the default
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
    cost, tokens = outcome.cost_nano, outcome.usage.total_tokens
    settling = settle_call(lease, cost_nano=cost, tokens=tokens, event=event, by=by)
    # Once more after a flush, which has taken the lease of a dead process with it.
    again = (
        settling
        if by == "settled"
        else settle_call(lease, cost_nano=cost, tokens=tokens, event=event, by=f"{by} again")
    )
    return Settlement(lease.request_id, lease.tenant_id, event, settling, again)


def settle_call(lease: Lease, *, cost_nano: int, tokens: int, event: bytes, by: str) -> ScriptCall:
    """The call of `settle.lua`. `event` is the ledger row as the usage stream takes it."""
    keys = lease.settle_keys or bulk(*settle_keys(lease.tenant_id, lease.counters, lease.day_counter))
    rest: tuple[Argument, ...] = (
        f"{tag(shard_of(lease.tenant_id))}:done:{lease.request_id}",
        lease.request_id,
        lease.tenant_id,
        lease.hold_nano,
        cost_nano,
        lease.held_tokens,
        tokens,
        event,
        lease.kept,
        lease.alert_lines,
        TOMBSTONE_SECONDS if by == "settled" else REAPED_SECONDS,
        by,
    )
    body = b"%b%b%b" % (_COUNT, keys, bulk(*rest))
    return ScriptCall(_SETTLE, tenant_key(lease.tenant_id), body, _KEYS + len(rest))


_COUNT = bulk(_KEYS)
