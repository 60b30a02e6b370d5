"""Who runs is known to `/readyz`, the console and `/metrics`."""

import pytest

from gateway_project.ground import presence
from gateway_project.ground.presence import KINDS, PROCESSES, Presence, process_states


def age(redis_server, kind: str, seconds: int) -> None:
    """Let all processes of a kind have been silent for so long."""
    for member in redis_server.zrange(PROCESSES, 0, -1):
        if member.decode().startswith(f"{kind} "):
            redis_server.zincrby(PROCESSES, -seconds, member)


@pytest.fixture
def all_run(redis_server):
    for kind in KINDS:
        Presence(kind).beat()


def test_nobody_is_heard_of_on_an_empty_redis(redis_server):
    assert process_states() == dict.fromkeys(KINDS, "missing")


@pytest.mark.parametrize("kind", KINDS)
def test_who_falls_silent_is_missing_and_no_other(redis_server, all_run, kind):
    age(redis_server, kind, presence.SILENT_SECONDS + 1)

    assert process_states() == dict.fromkeys(KINDS, "ok") | {kind: "missing"}


def test_who_ends_orderly_is_missing_at_once(redis_server):
    worker = Presence("worker")
    worker.beat()
    assert process_states()["worker"] == "ok"

    worker.leave()

    assert process_states()["worker"] == "missing"


def test_what_a_killed_run_left_does_not_count_for_the_next(redis_server, monkeypatch):
    monkeypatch.setenv("UP_RUN", "killed")
    Presence("worker").beat()

    monkeypatch.setenv("UP_RUN", "next")

    assert process_states()["worker"] == "missing"


def test_as_many_web_processes_are_wanted_as_are_set(all_run, settings):
    settings.WEB_WORKERS = 2
    assert process_states()["web"] == "missing"

    Presence("web").beat()

    assert process_states()["web"] == "ok"


def test_a_full_redis_still_hears_who_lives(redis_server):
    redis_server.config_set("maxmemory", 1)
    try:
        Presence("ledger").beat()
        assert process_states()["ledger"] == "ok"
    finally:
        redis_server.config_set("maxmemory", 0)
