"""Secrets at rest: what encrypts, what still decrypts, and how they get a new key."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing.models import WebhookEndpoint
from billing.webhooks.signing import give_secret, secrets_of
from routing.models import Upstream
from tests.factories import UpstreamFactory, WebhookEndpointFactory


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
