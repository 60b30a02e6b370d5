"""Signatures and the secrets behind them."""

import pytest
from standardwebhooks.webhooks import Webhook

from billing.models import WebhookEndpoint
from billing.webhooks.deliver import deliver_due
from billing.webhooks.publish import publish_test
from billing.webhooks.signing import rotate_secret, secrets_of
from gateway_project.ground.secrets import decrypt

pytestmark = pytest.mark.django_db(transaction=True)


def test_secrets_are_not_in_the_database_as_they_are(endpoint):
    assert endpoint.secret.startswith("enc:")
    assert decrypt(endpoint.secret).startswith("whsec_")


def test_while_a_secret_is_rotated_both_sign(receiver, endpoint):
    old = decrypt(endpoint.secret)
    new = rotate_secret(endpoint)
    publish_test(endpoint)
    deliver_due()

    [(headers, body)] = receiver.came
    for secret in (old, new):
        Webhook(secret).verify(body, headers)
    assert len(headers["webhook-signature"].split()) == 2


def test_of_two_rotations_at_once_the_second_keeps_what_the_first_showed(endpoint):
    read_by_another = WebhookEndpoint.objects.get(pk=endpoint.pk)
    first = rotate_secret(endpoint)
    second = rotate_secret(read_by_another)

    assert secrets_of(WebhookEndpoint.objects.get(pk=endpoint.pk)) == [second, first]
