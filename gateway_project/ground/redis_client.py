"""The synchronous side's client of the meter's Redis."""

from functools import lru_cache
from typing import Any

from django.conf import settings

from gateway_project.ground.redis_address import connect


@lru_cache(maxsize=1)
def store() -> Any:
    """One client a process (redis-py types its answers for both sides, hence `Any`)."""
    return connect(settings.REDIS_URL)
