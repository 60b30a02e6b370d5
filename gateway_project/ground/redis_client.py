"""The client of the meter's Redis for synchronous code."""

from functools import lru_cache
from typing import Any

from django.conf import settings

from gateway_project.ground.redis_address import connect


@lru_cache(maxsize=1)
def store() -> Any:
    """The process's client. `Any`, since redis-py types replies as synchronous or awaitable."""
    return connect(settings.REDIS_URL)
