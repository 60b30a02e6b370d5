"""Metrics, logs without secrets, and secrets that can be given a new key."""

import json
import logging
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing.models import WebhookEndpoint
from billing.webhooks.signing import give_secret, secrets_of
from gateway_project.ground.logs import JsonFormatter, redacted
from proxy import telemetry
from routing.models import Upstream
from tenants.throttle import MOST_FAILURES, FailureWindow, TooManyFailures
from tests.factories import UpstreamFactory, WebhookEndpointFactory
from tests.proxy.conftest import upstream_answering, world
from tests.proxy.gateway import finished, post
from tests.proxy.scripted_upstream import message, raw

__all__ = ["upstream_answering", "world"]


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


@pytest.mark.parametrize(
    "text",
    [
        "key tn_abcdefghijklmnop was shown",
        "Authorization: Bearer abcdefghijklmnop",
        "{'x-api-key': 'abcdefghijklmnop'}",
        "secret whsec_abcdefghijklmnop",
        "sk-ant-abcdefghijklmnop",
        "token tnop_abcdefghijklmnop",
        "Not Found: /portal/join/abcdefghijklmnop/",
        "Not Found: /portal/email/abcdefghijklmnop:1xKd2:x/",
        "Not Found: /portal/password/Mq/abcdefghijklmnop/",
    ],
)
def test_no_secret_is_written(text):
    record = logging.LogRecord("x", logging.ERROR, "", 0, text, None, None)
    record.tenant = text
    assert "abcdefghijklmnop" not in redacted(text)
    assert "abcdefghijklmnop" not in JsonFormatter().format(record)
    assert json.loads(JsonFormatter().format(record))["level"] == "ERROR"


@pytest.mark.django_db
def test_secrets_are_encrypted_anew_and_all_or_none(settings):
    settings.SECRETS_KEYS = ["old-passphrase"]
    endpoint = WebhookEndpointFactory()
    secret = give_secret(endpoint)
    endpoint.save()
    upstream = UpstreamFactory(api_key="ezai-key")

    settings.SECRETS_KEYS = ["new-passphrase", "old-passphrase"]
    call_command("rotate_secrets", stdout=StringIO())
    settings.SECRETS_KEYS = ["new-passphrase"]

    assert secret in secrets_of(WebhookEndpoint.objects.get(pk=endpoint.pk))
    assert Upstream.objects.get(pk=upstream.pk).api_key.startswith("enc:")
    settings.SECRETS_KEYS = ["somebody-elses"]
    with pytest.raises(CommandError, match="decrypts"):
        call_command("rotate_secrets")


def test_an_address_that_guesses_is_stopped_and_forgiven():
    window = FailureWindow()
    for _ in range(MOST_FAILURES):
        window.check("10.0.0.1", 0)
        window.failed("10.0.0.1", 0)
    with pytest.raises(TooManyFailures):
        window.check("10.0.0.1", 1)
    window.check("10.0.0.2", 1)
    window.check("10.0.0.1", 11)


@pytest.mark.django_db(transaction=True)
async def test_a_throttled_address_still_calls_with_a_key_that_is_known(world, upstream_answering):
    async with upstream_answering(raw(message())):
        await post(world.key)
        for number in range(MOST_FAILURES):
            await post(f"tn_wrong{number}")
        refused, served = await post("tn_wrong"), await post(world.key)

    assert (refused.status, refused.error["code"]) == (429, "rate_limited")
    assert served.status == 200
