"""Work on many rows, each on its own: a row that fails is logged and counted, and the rest are still done."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

import redis
from django.db import InterfaceError, OperationalError

from gateway_project.ground.redis_address import STORE_ERRORS

logger = logging.getLogger(__name__)
T = TypeVar("T")
NAMED = 5
# SQLSTATE classes and codes of a server that is away or full: connection, resources, shutdown.
_AWAY = ("08", "53", "57P")


class SomeFailed(Exception):
    """Raised at the end, so that the task counts as failed: how many of how many, and which."""


def one_by_one(items: Iterable[T], work: Callable[[T], int], *, what: str) -> int:
    """Call `work` on each of `items` and return the sum of its results. `what` names the work in the log.

    Raises SomeFailed once all were tried. If PostgreSQL or Redis is away, its error is raised at once, so that
    thousands of rows do not wait for the same timeout.
    """
    done, tried = 0, 0
    failed: list[str] = []
    for item in items:
        tried += 1
        try:
            done += work(item)
        except Exception as error:
            if concerns_all(error):
                raise
            # Only the first with its traceback: rows often fail for the same reason.
            logger.error("%s: %s failed: %r", what, item, error, exc_info=not failed)
            failed.append(str(item))
    if failed:
        more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        raise SomeFailed(f"{what}: {len(failed)} of {tried} failed: {', '.join(failed[:NAMED])}{more}")
    return done


def each_of(*steps: Callable[[], int]) -> int:
    """Run every step, even after one has failed, and return the sum of their results. Raises the first error."""
    done = 0
    first: Exception | None = None
    for step in steps:
        try:
            done += step()
        except Exception as error:
            if first is not None:
                logger.exception("a further step failed")
            first = first or error
    if first is not None:
        raise first
    return done


def concerns_all(error: Exception) -> bool:
    """Whether PostgreSQL or Redis is away or full, rather than one row at fault."""
    if isinstance(error, OperationalError):
        state = getattr(error.__cause__, "sqlstate", None)
        return state is None or state.startswith(_AWAY)
    if isinstance(error, redis.ResponseError):  # Redis answered: the error is about one key
        return False
    return isinstance(error, (InterfaceError, *STORE_ERRORS))
