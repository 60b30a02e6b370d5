"""What is read from PostgreSQL for every tenant alike, kept under the token it was read under.

Each shard of the meter has a token of its own for "all policies", so twice as many copies are kept as there are shards:
those in force, and those that callers still ask by until they are told that theirs is out of date. With one alone,
tenants of two shards that call by turns would have it read again for each call.
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
    """`read` is called once for a token, in whichever thread asks first. One for each module that keeps something."""

    def __init__(self, read: Callable[[str], T]) -> None:
        self._read = read
        self._known: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()
        _all.add(self)

    def known(self, token: str) -> T | None:
        """What is in memory under `token`: the hot path asks this first."""
        return self._known.get(token)

    def get(self, token: str) -> T:
        """What is known under `token`, read now if need be. Raises what `read` raises."""
        with self._lock:
            found = self._known.get(token)
            if found is None:
                found = self._known[token] = self._read(token)
                while len(self._known) > 2 * SHARDS:
                    self._known.popitem(last=False)
            return found

    def forget(self) -> None:
        """Read it again at the next question."""
        with self._lock:
            self._known.clear()


def forget_all() -> None:
    """Read everything again: a Redis that has lost its last second may say an old token again."""
    for each in list(_all):
        each.forget()
