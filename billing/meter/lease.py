"""What is reserved for one call, and how it is written into Redis so that anyone may settle it."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec

from billing.events import UsageEvent
from gateway_project.ground.money import NanoUSD
from routing.choice import REQUESTED, Candidate, CatalogueModel

UNLIMITED = (None, None, None, None)


class LeaseState(StrEnum):
    """Where a lease stands; docs/architecture.md has the picture.

    An open one is in Redis, among the tenant's leases. When it ends it leaves a tombstone with its state. `LATE` marks
    a usage event: the lease was reaped before its own process settled it; the tombstone then says settled.
    """

    OPEN = "open"
    SETTLED = "settled"
    REAPED = "reaped"
    LATE = "late"


class PricedCandidate(msgspec.Struct, frozen=True):
    """A candidate and what it may cost: `input_hold_nano` for the prompt at its worst, then by the token.

    `first_tokens` of output are held for at admission (`None`: all of `max_tokens`); the hold grows later.
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


# Of a lease that is read back to be settled: what was offered is not known any more, nor needed.
NO_OFFER = PricedCandidate(
    Candidate(CatalogueModel(0, "", "", "", 0, 0, None, None, False), REQUESTED),
    None,
    NanoUSD(0),
    NanoUSD(0),
    0,
)


class Run(msgspec.Struct, frozen=True):
    """A run the caller named, with the most it may spend (nano-USD; `None`: only named)."""

    id: str
    budget_nano: NanoUSD | None = None


class RequestMetadata(msgspec.Struct, frozen=True):
    """What the ledger row needs and only the request knows."""

    wire: str
    model_requested: str
    stream: bool
    end_user: str = ""
    session: str = ""
    tags: dict[str, str] = {}
    opening: str = ""  # how the conversation began; not kept
    text_bytes: int | None = None
    message_count: int | None = None
    tool_count: int | None = None
    keyword: str = ""


class Lease(msgspec.Struct):
    """An open reservation. `counters` are the names (below the tenant's key) of tenant, key, user and run
    budgets, empty where there is no such thing; `budgets` what they may reach (`None`: no limit). `event` is the ledger
    row so far, `output_tokens` what the hold pays for, `metadata` what Redis keeps of the lease besides.
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
    settle_keys: bytes = b""  # packed, where that was done before

    @property
    def kept(self) -> str:
        """Which counters are kept, as the scripts want it: '1001' for tenant and run."""
        _, _, user, run = self.counters
        return f"11{'1' if user else '0'}{'1' if run else '0'}"

    def overrun_nano(self, cost: NanoUSD) -> NanoUSD:
        """By how much `cost` passes what is reserved for it; 0 where no budget limits the call."""
        if cost <= self.hold_nano or self.budgets == UNLIMITED:
            return NanoUSD(0)
        return NanoUSD(cost - self.hold_nano)

    def text(self) -> bytes:
        """The lease as `admit.lua` wrote it."""
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
    """The counters' names as `admit.lua` writes and `seed.lua` reads them."""
    return "|".join((*counters, day_counter))


def flags(names: Iterable[str]) -> str:
    """Which of `names` there are, as the scripts want it: '1001' for the first and the last of four."""
    return "".join("1" if name else "0" for name in names)


def stored(worker: str, events: list[UsageEvent], alert_lines: str) -> bytes:
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
    """The lease behind `text`, as `admit.lua` wrote it."""
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
