"""What this process could tell a Redis that lost everything: its open leases and undrained settles."""

from collections import deque
from collections.abc import Iterable

import msgspec

from billing.lease import Lease
from billing.redis_pipe import Argument
from gateway_project.shards import shard_of

# Per shard; some 2 kB each. More than that waits only while PostgreSQL is away, and Redis has it all.
MOST_SETTLES = 10_000


class Settlement(msgspec.Struct):
    """One `settle.lua` call as it was made, and the entry it left in the stream."""

    request_id: str
    entry: tuple[int, int]
    keys: list[str]
    arguments: list[Argument]


def entry_id(text: bytes) -> tuple[int, int]:
    """A stream entry's id, to be compared."""
    milliseconds, _, number = text.partition(b"-")
    return int(milliseconds), int(number)


class Doubt(msgspec.Struct):
    """An admission that got no answer: it may have been carried out, or may yet be, as long as Redis reads
    what was sent to it before. `beats` is how often it has been looked for.
    """

    shard: int
    keys: list[str]
    arguments: list[Argument]
    beats: int = 0


class Memory:
    """One for each process; forgotten is what was settled, and what the ledger has drained."""

    def __init__(self) -> None:
        self.doubts: list[Doubt] = []
        self._leases: dict[str, Lease] = {}
        self._settles: dict[int, deque[Settlement]] = {}

    def opened(self, lease: Lease) -> None:
        self._leases[lease.request_id] = lease

    def closed(self, lease: Lease) -> None:
        self._leases.pop(lease.request_id, None)

    def settled(self, shard: int, settlement: Settlement) -> None:
        self._settles.setdefault(shard, deque(maxlen=MOST_SETTLES)).append(settlement)

    def drained(self, shard: int, oldest: tuple[int, int]) -> None:
        """Everything before the entry `oldest` is in the ledger."""
        settles = self._settles.get(shard)
        while settles and settles[0].entry < oldest:
            settles.popleft()

    def take_settles(self, shard: int) -> list[Settlement]:
        """The undrained settles of `shard`, which are forgotten by this."""
        return list(self._settles.pop(shard, ()))

    def leases(self, shard: int) -> Iterable[Lease]:
        return [lease for lease in self._leases.values() if shard_of(lease.tenant_id) == shard]

    def clear(self) -> None:
        self._leases.clear()
        self._settles.clear()
        self.doubts.clear()
