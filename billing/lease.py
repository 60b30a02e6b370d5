"""What is reserved for one call, and how it is written into Redis so that anyone may settle it."""

import msgspec

from billing.events import UsageEvent
from routing.choice import Candidate

TENANT, KEY, USER, RUN = range(4)


class Offer(msgspec.Struct, frozen=True):
    """A candidate and what it may cost: `input_hold_nano` for the prompt at its worst, then by the token."""

    candidate: Candidate
    price_id: int | None
    input_hold_nano: int
    output_nano_per_token: int
    max_tokens: int
    min_output_tokens: int = 1


class Run(msgspec.Struct, frozen=True):
    """A run the caller named, with the most it may spend (nano-USD; `None`: only named)."""

    id: str
    budget_nano: int | None = None


class Facts(msgspec.Struct, frozen=True):
    """What the ledger row needs and only the request knows."""

    wire: str
    model_requested: str
    stream: bool
    end_user: str = ""
    session: str = ""
    tags: dict[str, str] = {}


class Lease(msgspec.Struct):
    """An open reservation. `counters` are the names (below the tenant's key) of tenant, key, user and run
    budgets; empty where none is kept. `event` is the ledger row so far.
    """

    request_id: str
    tenant_id: int
    hold_nano: int
    held_tokens: int
    counters: tuple[str, str, str, str]
    day_counter: str
    offer: Offer
    max_tokens: int
    clamped: bool
    event: UsageEvent
    alert_lines: str = ""
    worker: str = ""


class _Stored(msgspec.Struct):
    """The part of a lease that Lua does not read."""

    worker: str
    events: list[UsageEvent]  # one for each candidate, so that whoever settles needs nothing else
    alert_lines: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode


def head(counters: tuple[str, str, str, str], day_counter: str) -> str:
    """The counters' names as `admit.lua` writes and `seed.lua` reads them."""
    return "|".join((*counters, day_counter))


def stored(worker: str, events: list[UsageEvent], alert_lines: str) -> bytes:
    return _encode(_Stored(worker=worker, events=events, alert_lines=alert_lines))


class OrphanedLease(msgspec.Struct, frozen=True):
    """A lease read back from Redis."""

    request_id: str
    tenant_id: int
    worker: str
    hold_nano: int
    held_tokens: int
    max_tokens: int
    admitted_us: int
    counters: tuple[str, str, str, str]
    day_counter: str
    event: UsageEvent
    alert_lines: str


def read(request_id: str, tenant_id: int, text: bytes) -> OrphanedLease:
    """The lease behind `text`, as `admit.lua` wrote it."""
    first, _, rest = text.partition(b"\n")
    hold, tokens, index, max_tokens, admitted, tenant, key, user, run, day = first.decode().split("|")
    body = _decode(rest)
    return OrphanedLease(
        request_id=request_id,
        tenant_id=tenant_id,
        worker=body.worker,
        hold_nano=int(hold),
        held_tokens=int(tokens),
        max_tokens=int(max_tokens),
        admitted_us=int(admitted),
        counters=(tenant, key, user, run),
        day_counter=day,
        event=body.events[int(index) - 1],
        alert_lines=body.alert_lines,
    )
