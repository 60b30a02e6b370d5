"""Secrets at rest: what encrypts, what still decrypts, and how they get a new key."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing.models import WebhookEndpoint
from billing.webhooks.signing import give_secret, secrets_of
from gateway_project.ground.secrets import UnreadableSecret, decrypt, encrypt
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


def test_a_secret_comes_back_and_is_not_what_is_stored(settings):
    settings.SECRETS_KEYS = ["one"]

    stored = encrypt("hush")

    assert "hush" not in stored
    assert decrypt(stored) == "hush"


def test_the_newest_key_encrypts_and_older_ones_still_decrypt(settings):
    settings.SECRETS_KEYS = ["old"]
    stored = encrypt("hush")

    settings.SECRETS_KEYS = ["new", "old"]
    assert decrypt(stored) == "hush"
    again = encrypt("hush")
    settings.SECRETS_KEYS = ["new"]

    assert decrypt(again) == "hush"
    with pytest.raises(UnreadableSecret):
        decrypt(stored)


def test_what_was_stored_before_there_was_encryption_is_read_as_it_is():
    assert decrypt("plain") == "plain"
