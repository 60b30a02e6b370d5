"""Request ids: UUIDv7 as text. The time in an id is its ledger row's `created_at`."""

import os
import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_214_400_000  # 9999-12-31: 48 bits reach further than calendars do
_RANDOM_BITS = (1 << 74) - 1


def new_request_id() -> str:
    """A new id of this millisecond. Formatted by hand, since `uuid.UUID` takes 2 µs more on every request."""
    random = int.from_bytes(os.urandom(10), "big") & _RANDOM_BITS
    number = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | (random >> 62) << 64 | 0x2 << 62
    digits = f"{number | random & (1 << 62) - 1:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def created_at(request_id: str) -> datetime:
    """The time in `request_id`, to the millisecond, in UTC."""
    return _EPOCH + timedelta(milliseconds=min(int(request_id[:8] + request_id[9:13], 16), _LAST_MS))
