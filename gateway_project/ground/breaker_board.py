"""The board on which the data plane's processes write which of their circuit breakers are not closed."""

import json

from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import BREAKER_BOARD


def breaker_states() -> dict[str, str]:
    """The state of each breaker that is not closed, by `<upstream> <model>`; empty while Redis is away.

    For information only: an open breaker does not make the process unready.
    """
    try:
        board = store().hgetall(BREAKER_BOARD)
    except STORE_ERRORS:
        return {}
    open_ones = {}
    for name, breaker in board.items():
        upstream_and_model, _, _ = name.decode().rpartition(" ")
        open_ones[upstream_and_model] = str(json.loads(breaker)["state"])
    return open_ones
