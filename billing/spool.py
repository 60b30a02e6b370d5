"""A spool in DATA_DIR for settles that Redis did not take before their process ended. The next process delivers it."""

import fcntl
import logging
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec
from django.conf import settings

from billing.events import decode
from billing.meter.errors import MeteringUnavailable
from billing.meter.heartbeat import Heartbeat
from billing.meter.journal import Settlement
from billing.meter.lease import NO_OFFER, Lease, LeaseState
from billing.meter.settlement import CallOutcome, settle_call, settlement_of
from gateway_project.ground.money import NanoUSD

logger = logging.getLogger("tenantry.billing")


class _Kept(msgspec.Struct):
    """One settle. `event` is the ledger row as the usage stream takes it."""

    request_id: str
    tenant_id: int
    hold_nano: NanoUSD
    held_tokens: int
    counters: tuple[str, str, str, str]
    day_counter: str
    alert_lines: str
    event: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Kept]).decode


def keep(settles: Sequence[tuple[Lease, CallOutcome]]) -> Path:
    """Write `settles` to a file that `deliver` will find. Raises OSError."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / f"{uuid.uuid4().hex}.msgpack"
    unfinished = file.with_suffix(".part")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(_encode([_kept(lease, outcome) for lease, outcome in settles]))
        out.flush()
        os.fsync(out.fileno())
    unfinished.rename(file)
    return file


async def deliver(heartbeat: Heartbeat) -> bool:
    """Settle what ended processes kept, each call once. Returns whether nothing is left.

    Something is left if another process is delivering it, or if Redis or PostgreSQL is away.
    """
    done = [await _deliver(file, heartbeat) for file in sorted(_folder().glob("*.msgpack"))]
    return all(done)


async def _deliver(file: Path, heartbeat: Heartbeat) -> bool:
    claimed = _claimed(file)
    if claimed is None:
        return False
    with claimed:
        try:
            settles = [_settlement(each) for each in _decode(claimed.read())]
            delivered = await heartbeat.deliver(settles)
        except MeteringUnavailable:
            return False
        except msgspec.MsgspecError:
            _set_aside(file)
            return True
        logger.warning("Delivered %d of %d settles kept by a process that ended", delivered, len(settles))
        os.unlink(file)
    return True


def _set_aside(file: Path) -> None:
    kept = file.rename(file.with_suffix(".unreadable"))
    logger.exception("Settles kept by a process that ended cannot be read; they stay in %s", kept)


def _folder() -> Path:
    return Path(settings.DATA_DIR) / "unsettled"


def _claimed(file: Path) -> IO[bytes] | None:
    """`file`, opened and locked for this process; `None` if another one delivers it."""
    try:
        opened = file.open("rb")
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    # Another process may have delivered and removed it just before.
    return opened if os.fstat(opened.fileno()).st_nlink else None


def _kept(lease: Lease, outcome: CallOutcome) -> _Kept:
    return _Kept(
        request_id=lease.request_id,
        tenant_id=lease.tenant_id,
        hold_nano=lease.hold_nano,
        held_tokens=lease.held_tokens,
        counters=lease.counters,
        day_counter=lease.day_counter,
        alert_lines=lease.alert_lines,
        event=settlement_of(lease, outcome, state=LeaseState.SETTLED).event,
    )


def _settlement(kept: _Kept) -> Settlement:
    event = decode(kept.event)
    call = settle_call(
        Lease(
            request_id=kept.request_id,
            tenant_id=kept.tenant_id,
            hold_nano=kept.hold_nano,
            held_tokens=kept.held_tokens,
            counters=kept.counters,
            day_counter=kept.day_counter,
            offer=NO_OFFER,
            max_tokens=0,
            clamped=False,
            event=event,
            alert_lines=kept.alert_lines,
        ),
        cost_nano=NanoUSD(event.cost_nano),
        tokens=event.usage.total_tokens,
        event=kept.event,
        state=LeaseState.SETTLED,
    )
    return Settlement(kept.request_id, kept.tenant_id, kept.event, call, call)
