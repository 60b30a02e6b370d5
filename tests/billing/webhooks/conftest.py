import pytest

from billing.webhooks.signing import give_secret
from tests.billing.webhooks.receiver import receiving
from tests.factories import WebhookEndpointFactory


@pytest.fixture
def receiver(settings):
    with receiving() as server:
        settings.WEBHOOK_ALLOW_HOSTS = [server.place]
        yield server


@pytest.fixture
def endpoint(receiver):
    endpoint = WebhookEndpointFactory(url=receiver.url)
    give_secret(endpoint)
    endpoint.save()
    return endpoint
