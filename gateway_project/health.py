"""`/healthz`: this process answers. `/readyz`: it can do its work."""

import json
import time

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

from gateway_project.policy_changes import store
from gateway_project.presence import process_states
from gateway_project.redis_address import STORE_ERRORS
from gateway_project.shards import every_tag

_migrated = False
# Where the data plane's processes write which of their circuit breakers are not closed.
BREAKER_BOARD = "tenantry:breakers"


def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    status, checks = readiness()
    return JsonResponse(checks, status=status)


def readiness() -> tuple[int, dict[str, str]]:
    """200 when PostgreSQL is there and migrated and the meter is open; else 503. Says which, and who runs.

    A missing ledger, worker or beat is no reason to send tenants away: their calls are answered, and what those
    processes owe is done when they are back. Who may not know more than this reads it too.
    """
    stores = {"postgresql": _postgresql(), "redis": _redis()}
    ready = all(state == "ok" for state in stores.values())
    return 200 if ready else 503, {"status": "ok" if ready else "unavailable", **stores, **process_states()}


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
