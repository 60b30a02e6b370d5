"""What is reserved for one call, and how it is written into Redis so that any process can settle it."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec

from billing.events import UsageEvent
from gateway_project.ground.money import NanoUSD
from routing.choice import REQUESTED, Candidate, CatalogueModel

UNLIMITED = (None, None, None, None)


class LeaseState(StrEnum):
    """The states of a lease; docs/architecture.md has the picture.

    An open lease is in the tenant's hash of leases. When it ends it leaves a tombstone with its state. `LATE` is the
    state of a usage event, never of a tombstone: the lease was reaped before its own process settled it.
    """

    OPEN = "open"
    SETTLED = "settled"
    REAPED = "reaped"
    LATE = "late"


class PricedCandidate(msgspec.Struct, frozen=True):
    """A candidate and what it may cost: `input_hold_nano` for the prompt at its worst, and a price per output token.

    At admission the hold covers `first_tokens` of output (`None`: all of `max_tokens`); it can grow later.
    """

    candidate: Candidate
    price_id: int | None
    input_hold_nano: NanoUSD
    output_nano_per_token: int
    max_tokens: int
    min_output_tokens: int = 1
    first_tokens: int | None = None

    @property
    def held_tokens(self) -> int:
        return self.max_tokens if self.first_tokens is None else min(self.first_tokens, self.max_tokens)


# For a lease that is read back to be settled: its candidates are no longer known, nor needed.
NO_OFFER = PricedCandidate(
    Candidate(CatalogueModel(0, "", "", "", 0, 0, None, None, False), REQUESTED),
    None,
    NanoUSD(0),
    NanoUSD(0),
    0,
)


class Run(msgspec.Struct, frozen=True):
    """A run that the caller named, and its budget (nano-USD; `None`: no limit)."""

    id: str
    budget_nano: NanoUSD | None = None


class RequestMetadata(msgspec.Struct, frozen=True):
    """What the ledger row needs that only the request knows."""

    wire: str
    model_requested: str
    stream: bool
    end_user: str = ""
    session: str = ""
    tags: dict[str, str] = {}
    opening: str = ""  # how the conversation began; not stored
    text_bytes: int | None = None
    message_count: int | None = None
    tool_count: int | None = None
    keyword: str = ""


class Lease(msgspec.Struct):
    """An open reservation.

    `counters` are the names (below the tenant's key) of the budgets of tenant, key, user and run, empty where there is
    no user or run. `budgets` are what they may reach (`None`: no limit). `event` is the ledger row so far.
    `output_tokens` of output are covered by the hold. `metadata` is the part of the lease that Lua does not read.
    """

    request_id: str
    tenant_id: int
    hold_nano: NanoUSD
    held_tokens: int
    counters: tuple[str, str, str, str]
    day_counter: str
    offer: PricedCandidate
    max_tokens: int
    clamped: bool
    event: UsageEvent
    alert_lines: str = ""
    worker: str = ""
    budgets: tuple[NanoUSD | None, NanoUSD | None, NanoUSD | None, NanoUSD | None] = UNLIMITED
    resets_at: datetime | None = None
    output_tokens: int = 0
    index: int = 1
    admitted_us: int = 0
    metadata: bytes = b""
    settle_keys: bytes = b""  # packed; empty: they are packed when the lease is settled

    @property
    def kept(self) -> str:
        """Which of the counters exist, as the scripts take it: '1101' for tenant, key and run."""
        _, _, user, run = self.counters
        return f"11{'1' if user else '0'}{'1' if run else '0'}"

    def overrun_nano(self, cost: NanoUSD) -> NanoUSD:
        """By how much `cost` exceeds the hold; 0 where no budget limits the call."""
        if cost <= self.hold_nano or self.budgets == UNLIMITED:
            return NanoUSD(0)
        return NanoUSD(cost - self.hold_nano)

    def text(self) -> bytes:
        """The lease as `admit.lua` writes it."""
        head = (self.hold_nano, self.held_tokens, self.index, self.output_tokens, self.admitted_us)
        names = "|".join((*self.counters, self.day_counter))
        return f"{'|'.join(map(str, head))}|{names}\n".encode() + self.metadata


class _Stored(msgspec.Struct):
    """The part of a lease that Lua does not read."""

    worker: str
    events: list[UsageEvent]  # one for each candidate, so that whoever settles needs nothing else
    alert_lines: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode


def head(counters: tuple[str, str, str, str], day_counter: str) -> str:
    """The counters' names as `admit.lua` writes them and `seed.lua` reads them."""
    return "|".join((*counters, day_counter))


def flags(names: Iterable[str]) -> str:
    """Which of `names` are not empty, as the scripts take it: '1001' for the first and the last of four."""
    return "".join("1" if name else "0" for name in names)


def stored(worker: str, events: list[UsageEvent], alert_lines: str) -> bytes:
    """The part of a lease that Lua does not read, packed."""
    return _encode(_Stored(worker=worker, events=events, alert_lines=alert_lines))


class OrphanedLease(msgspec.Struct, frozen=True):
    """A lease read back from Redis."""

    request_id: str
    tenant_id: int
    worker: str
    hold_nano: NanoUSD
    held_tokens: int
    output_tokens: int
    admitted_us: int
    counters: tuple[str, str, str, str]
    day_counter: str
    event: UsageEvent
    alert_lines: str


def read(request_id: str, tenant_id: int, text: bytes) -> OrphanedLease:
    """Parse a lease as `admit.lua` wrote it. Raises ValueError, LookupError or MsgspecError for another version's."""
    first, _, rest = text.partition(b"\n")
    hold, tokens, index, paid, admitted, tenant, key, user, run, day = first.decode().split("|")
    body = _decode(rest)
    return OrphanedLease(
        request_id=request_id,
        tenant_id=tenant_id,
        worker=body.worker,
        hold_nano=NanoUSD(int(hold)),
        held_tokens=int(tokens),
        output_tokens=int(paid),
        admitted_us=int(admitted),
        counters=(tenant, key, user, run),
        day_counter=day,
        event=body.events[int(index) - 1],
        alert_lines=body.alert_lines,
    )
