"""The synchronous side's client of the meter's Redis."""

from gateway_project.ground.redis_client import store


def test_a_process_has_one_client(redis_server):
    redis_server.set("known", "1")

    assert store() is store()
    assert store().get("known") == b"1"
