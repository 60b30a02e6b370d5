"""A cache of what is read from PostgreSQL for all tenants alike, keyed by the policy token it was read under.

Each shard of the meter has its own token for "all policies". The cache keeps two copies for each shard: the one in
force, and the one before it, which callers still ask for until they learn that it is out of date. With a single copy,
tenants of two shards who call by turns would cause a read for each call.
"""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from gateway_project.ground.redis_keys import SHARDS

T = TypeVar("T")
_all: "weakref.WeakSet[ByToken[Any]]" = weakref.WeakSet()


class ByToken(Generic[T]):
    """Calls `read` once for each token, in the thread that asks first. Each module that caches something has one."""

    def __init__(self, read: Callable[[str], T]) -> None:
        self._read = read
        self._known: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()
        _all.add(self)

    def known(self, token: str) -> T | None:
        """The value in memory under `token`, or `None`. Takes no lock, so the hot path asks this first."""
        return self._known.get(token)

    def get(self, token: str) -> T:
        """The value under `token`, read now if it is not in memory. Raises what `read` raises."""
        with self._lock:
            value = self._known.get(token)
            if value is None:
                value = self._known[token] = self._read(token)
                while len(self._known) > 2 * SHARDS:
                    self._known.popitem(last=False)
            return value

    def forget(self) -> None:
        """Drop every value, so that the next `get` reads again."""
        with self._lock:
            self._known.clear()


def forget_all() -> None:
    """Empty every cache. A Redis that lost its last second may hand out an old token again."""
    for each in list(_all):
        each.forget()
