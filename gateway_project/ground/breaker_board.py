"""Where the data plane's processes write which of their circuit breakers are not closed."""

import json

from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_client import store

BREAKER_BOARD = "tenantry:breakers"


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
