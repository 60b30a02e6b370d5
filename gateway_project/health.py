"""`/healthz`: this process answers. `/readyz`: it can do its work."""

import time

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

from gateway_project.ground.breaker_board import breaker_states
from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import every_shard, shard_key

_migrated = False


def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 when PostgreSQL is there and migrated and the meter is open; else 503. Says which, nothing more."""
    checks = {"postgresql": _postgresql(), "redis": _redis()}
    ready = all(state == "ok" for state in checks.values())
    return JsonResponse(
        {"status": "ok" if ready else "unavailable", **checks, "breakers": breaker_states()},
        status=200 if ready else 503,
    )


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
        opens = [store().hget(shard_key(shard), "opens_ms") for shard in every_shard()]
    except STORE_ERRORS:
        return "unavailable"
    now = time.time() * 1000
    return "ok" if all(each is not None and float(each) <= now for each in opens) else "warming"
