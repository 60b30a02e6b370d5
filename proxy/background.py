"""Work that must outlive the request it belongs to: settling, closing an upstream call."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

logger = logging.getLogger("tenantry.proxy")

T = TypeVar("T")
_kept: set[asyncio.Task[Any]] = set()


def keep(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run `work` to its end whoever is cancelled. The event loop alone holds tasks weakly."""
    task = asyncio.create_task(work)
    _kept.add(task)
    task.add_done_callback(_done)
    return task


async def finish(*, seconds: float) -> None:
    """Wait for what is kept, at most `seconds`; for the end of the process."""
    if _kept:
        await asyncio.wait(_kept, timeout=seconds)


def _done(task: asyncio.Task[Any]) -> None:
    _kept.discard(task)
    if not task.cancelled() and (error := task.exception()):
        logger.error("Work in the background failed", exc_info=error)
