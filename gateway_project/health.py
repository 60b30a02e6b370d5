"""What `/readyz` says: whether this process can do its work; and for staff, which breakers are not closed."""

import json
import time
from typing import Any

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from gateway_project.policy_changes import store
from gateway_project.redis_address import STORE_ERRORS
from gateway_project.shards import every_tag

_migrated = False
# Where the data plane's processes write which of their circuit breakers are not closed.
BREAKER_BOARD = "tenantry:breakers"


def readiness() -> tuple[int, dict[str, Any]]:
    """200 when PostgreSQL is there and migrated and the meter is open; else 503. Says which, and nothing more: anybody
    may ask.
    """
    checks = {"postgresql": _postgresql(), "redis": _redis()}
    ready = all(state == "ok" for state in checks.values())
    return (200 if ready else 503), {"status": "ok" if ready else "unavailable", **checks}


def breaker_states() -> dict[str, str]:
    """What is not closed, by upstream and model: worth knowing, and no reason to take no traffic."""
    try:
        board = store().hgetall(BREAKER_BOARD)
    except STORE_ERRORS:
        return {}
    open_ones = {}
    for place, told in board.items():
        upstream_and_model, _, _ = place.decode().rpartition(" ")
        open_ones[upstream_and_model] = str(json.loads(told)["state"])
    return open_ones


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
    """Redis answers, and every shard of the meter is past its quarantine."""
    try:
        opens = [store().hget(f"{tag}:shard", "opens_ms") for tag in every_tag()]
    except STORE_ERRORS:
        return "unavailable"
    now = time.time() * 1000
    return "ok" if all(each is not None and float(each) <= now for each in opens) else "warming"
