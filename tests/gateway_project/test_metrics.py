"""What Prometheus reads."""

import json

import pytest

from gateway_project.metrics import scrape
from proxy import telemetry
from tests.gateway_project.ground.test_presence import age
from tests.gateway_project.ground.test_presence import all_run as all_run  # a fixture
from tests.proxy.conftest import upstream_answering as upstream_answering  # a fixture
from tests.proxy.conftest import world as world  # a fixture
from tests.proxy.gateway import finished, post
from tests.proxy.scripted_upstream import message, raw


@pytest.mark.django_db(transaction=True)
async def test_calls_and_refusals_are_counted_and_get_a_line(world, upstream_answering, settings, capsys):
    settings.ACCESS_LOG = 1
    model = "claude-sonnet-4-20250514"
    spent = telemetry.SPEND.labels(world.tenant.tier.name, model)
    async with upstream_answering(raw(message())):
        served = await post(world.key)
        refused = await post("tn_wrong_key_that_is_long_enough")

    await finished()
    call, refusal = map(json.loads, capsys.readouterr().out.splitlines())
    assert spent._value.get() == pytest.approx(0.00375)
    assert (call["request_id"], call["cost_usd"]) == (served.headers["request-id"], "0.003750000")
    assert (refusal["code"], refusal["request_id"]) == ("invalid_api_key", refused.headers["request-id"])
    assert world.key not in json.dumps(call)


@pytest.mark.django_db
def test_metrics_say_how_long_each_has_been_silent(all_run, redis_server):
    age(redis_server, "beat", 100)

    lines = scrape()[0].decode().splitlines()

    seen = dict(
        line.rsplit(" ", 1) for line in lines if line.startswith("tenantry_process_last_seen_seconds{")
    )
    assert float(seen['tenantry_process_last_seen_seconds{process="beat"}']) >= 100
    assert float(seen['tenantry_process_last_seen_seconds{process="web"}']) < 60


@pytest.mark.django_db
def test_metrics_say_of_who_was_never_there_that_it_is_longer_than_any_bound(redis_server):
    lines = scrape()[0].decode()

    assert 'tenantry_process_last_seen_seconds{process="worker"} +Inf' in lines
