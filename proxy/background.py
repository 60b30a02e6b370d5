"""Work that must outlive its request: settling, closing an upstream call."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

logger = logging.getLogger("tenantry.proxy")

T = TypeVar("T")


class Background:
    """Keeps tasks that outlive their request. The event loop alone holds only weak references to them."""

    def __init__(self) -> None:
        self._kept: set[asyncio.Future[Any]] = set()

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` to its end, even if its caller is cancelled. A failure is logged."""
        task = asyncio.create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._done)
        return task

    def wait_for(self, sent: asyncio.Future[Any]) -> None:
        """Have `finish` wait for `sent` as well. Its sender handles its failure."""
        self._kept.add(sent)
        sent.add_done_callback(self._kept.discard)

    async def finish(self, *, seconds: float) -> None:
        """Wait up to `seconds` for all work, and for the work it starts. Called when the process ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._kept:
                    await asyncio.wait(self._kept)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._kept.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("Work in the background failed", exc_info=error)
