"""Check whether a given PostgreSQL and Redis are what the product needs."""

from typing import Any

import psycopg
from redis import RedisError

from gateway_project.ground.redis_address import STORE_ERRORS, connect

LEAST_POSTGRES = 15
LEAST_REDIS = 7


class StoreError(Exception):
    """A store cannot be used; the message says why and what to do."""


def check_postgres(url: str) -> None:
    """Check the version of PostgreSQL. Raises StoreError."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            version = connection.info.server_version // 10_000
    except psycopg.Error as error:
        why = _sentence(error)
        raise StoreError(
            f"PostgreSQL at DATABASE_URL cannot be used: {why} Start it, or correct DATABASE_URL."
        ) from None
    if version < LEAST_POSTGRES:
        raise StoreError(
            f"PostgreSQL at DATABASE_URL is version {version}; Tenantry needs {LEAST_POSTGRES} or later. "
            "Upgrade it, or leave DATABASE_URL empty for the embedded one."
        )


def check_redis(url: str) -> str | None:
    """Check version and settings of Redis. Returns a warning, if there is one. Raises StoreError."""
    try:
        client: Any = connect(url)
        version = _first(client.info("server"))["redis_version"]
    except (*STORE_ERRORS, ValueError, OSError) as error:
        raise StoreError(
            f"Redis at REDIS_URL cannot be used: {_sentence(error)} Start it, or correct REDIS_URL."
        ) from None
    if int(version.split(".")[0]) < LEAST_REDIS:
        raise StoreError(
            f"Redis at REDIS_URL is version {version}; Tenantry needs {LEAST_REDIS} or later. "
            "Upgrade it, or leave REDIS_URL empty for the embedded one."
        )
    try:
        policy = _first(client.config_get("maxmemory-policy"), of="maxmemory-policy")
    except RedisError:
        return None  # many managed services do not allow the question
    if policy != "noeviction":
        return (
            f"Redis evicts keys when it is full (maxmemory-policy {policy}), so open reservations can be lost. "
            "Set maxmemory-policy noeviction."
        )
    return None


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".?") + "."


def _first(answer: Any, of: str = "redis_version") -> Any:
    """The value in a reply of INFO, which for a cluster has one for each node."""
    found = answer if of in answer else next(iter(answer.values()))
    return found[of] if of == "maxmemory-policy" else found
