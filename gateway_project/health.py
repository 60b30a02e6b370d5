"""The response of `/readyz`: whether this process can do its work."""

import time
from typing import Any

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from gateway_project.ground.presence import process_states
from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import every_shard, shard_key

_migrated = False


def readiness() -> tuple[int, dict[str, Any]]:
    """The status, 200 if PostgreSQL is there and migrated and the meter is open, else 503; and the state of each.

    A missing ledger, worker or beat does not make it 503: calls are still answered, and those processes catch up when
    they are back. The response is public, so it contains nothing else.
    """
    stores = {"postgresql": _postgresql(), "redis": _redis()}
    ready = all(state == "ok" for state in stores.values())
    return 200 if ready else 503, {"status": "ok" if ready else "unavailable", **stores, **process_states()}


def _postgresql() -> str:
    global _migrated
    try:
        if not _migrated:
            executor = MigrationExecutor(connection)
            if executor.migration_plan(executor.loader.graph.leaf_nodes()):
                return "not migrated"
            _migrated = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "unavailable"
    return "ok"


def _redis() -> str:
    """`ok` if Redis responds and every shard of the meter is past its quarantine."""
    try:
        opens = [store().hget(shard_key(shard), "opens_ms") for shard in every_shard()]
    except STORE_ERRORS:
        return "unavailable"
    now = time.time() * 1000
    return "ok" if all(each is not None and float(each) <= now for each in opens) else "warming"
