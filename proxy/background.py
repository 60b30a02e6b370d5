"""Work that must outlive the request it belongs to: settling, closing an upstream call."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

logger = logging.getLogger("tenantry.proxy")

T = TypeVar("T")


class Background:
    """What is still to be finished when its request is over. The event loop alone holds tasks weakly."""

    def __init__(self) -> None:
        self._kept: set[asyncio.Future[Any]] = set()

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` to its end whoever is cancelled."""
        task = asyncio.create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._done)
        return task

    def wait_for(self, sent: asyncio.Future[Any]) -> None:
        """Have `finish` wait for this as well. Who sent it looks after its failure."""
        self._kept.add(sent)
        sent.add_done_callback(self._kept.discard)

    async def finish(self, *, seconds: float) -> None:
        """Wait for what is kept, and what that leads to, at most `seconds`; for the end of the process."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._kept:
                    await asyncio.wait(self._kept)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._kept.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("Work in the background failed", exc_info=error)
