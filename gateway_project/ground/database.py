"""The data plane's few reads of PostgreSQL, in threads of their own: none of them is on a paid call's way."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import DatabaseError, close_old_connections

from gateway_project.ground.errors import TenantryError

T = TypeVar("T")
_threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="reports")


class ReportsUnavailable(TenantryError):
    """PostgreSQL is away; calls are served on."""

    code = "reports_unavailable"
    status = 503

    def __init__(self) -> None:
        super().__init__("Usage cannot be read right now; try again shortly.", headers={"retry-after": "2"})


async def read(select: Callable[[], T]) -> T:
    """What `select` answers. Raises ReportsUnavailable."""
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, _within_thread, select)
    except DatabaseError as error:
        raise ReportsUnavailable from error


def _within_thread(select: Callable[[], T]) -> T:
    close_old_connections()
    try:
        return select()
    finally:
        close_old_connections()
