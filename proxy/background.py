"""Work that must outlive the request it belongs to: settling, closing an upstream call."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

logger = logging.getLogger("tenantry.proxy")

T = TypeVar("T")
_kept: set[asyncio.Future[Any]] = set()


def keep(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run `work` to its end whoever is cancelled. The event loop alone holds tasks weakly."""
    task = asyncio.create_task(work)
    _kept.add(task)
    task.add_done_callback(_done)
    return task


def wait_for(sent: asyncio.Future[Any]) -> None:
    """Have `finish` wait for this as well. Who sent it looks after its failure."""
    _kept.add(sent)
    sent.add_done_callback(_kept.discard)


async def finish(*, seconds: float) -> None:
    """Wait for what is kept, and what that leads to, at most `seconds`; for the end of the process."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while _kept:
                await asyncio.wait(_kept)


def _done(task: asyncio.Task[Any]) -> None:
    _kept.discard(task)
    if not task.cancelled() and (error := task.exception()):
        logger.error("Work in the background failed", exc_info=error)
