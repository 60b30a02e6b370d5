"""The board of circuit breakers that are not closed."""

import json

from gateway_project.ground import breaker_board
from gateway_project.ground.breaker_board import breaker_states
from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_keys import BREAKER_BOARD


def test_an_open_breaker_is_named_by_upstream_and_model(redis_server):
    redis_server.hset(BREAKER_BOARD, "ezai claude worker:1", json.dumps({"state": "open"}))

    assert breaker_states() == {"ezai claude": "open"}


def test_without_redis_nothing_is_known_and_nothing_fails(monkeypatch):
    def away():
        raise STORE_ERRORS[0]("away")

    monkeypatch.setattr(breaker_board, "store", away)

    assert breaker_states() == {}
