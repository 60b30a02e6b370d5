"""The data plane's few reads of PostgreSQL, in threads of their own. No billed call waits for one."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.conf import settings
from django.db import DatabaseError, close_old_connections

from gateway_project.ground.errors import TenantryError
from gateway_project.ground.statement_timeout import statements_within, too_slow_text, was_too_slow

T = TypeVar("T")


class ReportsUnavailable(TenantryError):
    """PostgreSQL is away or too slow to report; calls are still served."""

    code = "reports_unavailable"
    status = 503

    def __init__(self, error: DatabaseError) -> None:
        if was_too_slow(error):
            super().__init__(too_slow_text(), headers={"x-should-retry": "false"})
        else:
            super().__init__(
                "Usage data is unavailable right now. Try again shortly.", headers={"retry-after": "2"}
            )


class Reader:
    """Runs reads in a pool of `threads` threads, which are called `name`."""

    def __init__(self, *, name: str, threads: int) -> None:
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)

    async def read(self, select: Callable[[], T]) -> T:
        """What `select` returns, called in one of the threads. Raises ReportsUnavailable."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, _within_thread, select)
        except DatabaseError as error:
            raise ReportsUnavailable(error) from error

    def close(self) -> None:
        """Start no more reads."""
        self._threads.shutdown(wait=False)


def _within_thread(select: Callable[[], T]) -> T:
    close_old_connections()
    try:
        with statements_within(settings.CONSOLE_STATEMENT_TIMEOUT_SECONDS):
            return select()
    finally:
        close_old_connections()
