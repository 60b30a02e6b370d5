"""An event becomes one delivery for each endpoint that listens."""

import pytest

from billing.models import WebhookDelivery
from billing.webhooks.deliver import deliver_due
from billing.webhooks.event_types import EventType
from billing.webhooks.publish import publish
from tests.factories import WebhookEndpointFactory

pytestmark = pytest.mark.django_db(transaction=True)


def test_publishing_twice_delivers_once(receiver, endpoint):
    for _ in range(2):
        publish(endpoint.tenant, EventType.EXCEEDED, {}, key="same")
    deliver_due()
    assert len(receiver.came) == 1


def test_only_the_tenants_own_and_the_operators_endpoints_hear_of_it(endpoint):
    stranger = WebhookEndpointFactory()
    operator = WebhookEndpointFactory(tenant=None)
    deaf = WebhookEndpointFactory(tenant=endpoint.tenant, events=["key.created"])

    publish(endpoint.tenant, EventType.EXCEEDED, {}, key="1")

    told = set(WebhookDelivery.objects.values_list("endpoint_id", flat=True))
    assert told == {endpoint.pk, operator.pk}
    assert not told & {stranger.pk, deaf.pk}
