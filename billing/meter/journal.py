"""What this process can put back into a Redis that lost it: its open leases and undrained settles."""

import os
import uuid
from collections import deque
from collections.abc import Iterable

import msgspec

from billing.meter.connection.script import ScriptCall
from billing.meter.lease import Lease
from billing.meter.scripts import VoidArguments, VoidKeys
from gateway_project.ground.redis_keys import shard_of

# This process, as leases and heartbeats name it.
WORKER = f"{os.uname().nodename}:{os.getpid()}:{uuid.uuid4().hex[:8]}"

# Per shard; some 2 kB each. More are undrained only while PostgreSQL is away, and Redis still has those.
MOST_SETTLES = 10_000


class Settlement(msgspec.Struct):
    """A settle: the script call that makes it (`call`), the one that repeats it (`again`), and its stream entry."""

    request_id: str
    tenant_id: int
    event: bytes
    call: ScriptCall
    again: ScriptCall
    entry: tuple[int, int] = (0, 0)


def entry_id(text: bytes) -> tuple[int, int]:
    """A stream entry's id as numbers that compare in order."""
    milliseconds, _, number = text.partition(b"-")
    return int(milliseconds), int(number)


class UnconfirmedAdmission(msgspec.Struct):
    """An admission that got no reply. Redis may have executed it, or may yet, until it has read what was sent before.

    `beats` is how often it has been looked for.
    """

    shard: int
    keys: VoidKeys
    arguments: VoidArguments
    beats: int = 0


class RecoveryJournal:
    """The journal of one process. It forgets a lease once it is settled, and a settle once it is drained."""

    def __init__(self) -> None:
        self.unconfirmed: list[UnconfirmedAdmission] = []
        self._leases: dict[str, Lease] = {}
        self._settles: dict[int, deque[Settlement]] = {}

    def opened(self, lease: Lease) -> None:
        self._leases[lease.request_id] = lease

    def closed(self, lease: Lease) -> None:
        self._leases.pop(lease.request_id, None)

    def settled(self, settlement: Settlement) -> None:
        shard = shard_of(settlement.tenant_id)
        self._settles.setdefault(shard, deque(maxlen=MOST_SETTLES)).append(settlement)

    def drained(self, shard: int, oldest: tuple[int, int]) -> None:
        """Forget the settles before the entry `oldest`: they are in the ledger."""
        settles = self._settles.get(shard)
        while settles and settles[0].entry < oldest:
            settles.popleft()

    def take_settles(self, shard: int) -> list[Settlement]:
        """Remove and return the undrained settles of `shard`."""
        return list(self._settles.pop(shard, ()))

    def leases(self, shard: int) -> Iterable[Lease]:
        return [lease for lease in self._leases.values() if shard_of(lease.tenant_id) == shard]

    def clear(self) -> None:
        self._leases.clear()
        self._settles.clear()
        self.unconfirmed.clear()
