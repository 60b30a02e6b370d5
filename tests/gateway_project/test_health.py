"""`/readyz`: whether a process can do its work."""

import pytest

from gateway_project.ground.redis_keys import every_tag
from gateway_project.health import readiness
from tests.gateway_project.ground.test_presence import age
from tests.gateway_project.ground.test_presence import all_run as all_run  # a fixture


@pytest.fixture
def open_meter(redis_server):
    for tag in every_tag():
        redis_server.hset(f"{tag}:shard", "opens_ms", 0)


@pytest.mark.django_db
def test_readyz_names_the_missing_and_goes_on_taking_traffic(all_run, open_meter, redis_server):
    age(redis_server, "worker", 60)

    status, checks = readiness()

    assert status == 200
    assert checks == {
        "status": "ok",
        "postgresql": "ok",
        "redis": "ok",
        "web": "ok",
        "ledger": "ok",
        "worker": "missing",
        "beat": "ok",
    }


@pytest.mark.django_db
def test_readiness_is_a_plain_answer_for_whoever_serves_probes(all_run, redis_server):
    status, checks = readiness()

    assert (status, checks["redis"]) == (503, "warming")
