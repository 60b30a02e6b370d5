"""Alert addresses are asked to confirm, and hear what waited for that."""

import pytest
from django.core import mail
from django.utils import timezone

from billing.webhooks.alert_addresses import ask_new_alert_addresses
from billing.webhooks.deliver import deliver_due
from billing.webhooks.event_types import EventType
from billing.webhooks.publish import publish
from tests.billing.webhooks.test_confirmation import events, mailed_link
from tests.factories import (
    TenantFactory,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_alert_addresses_are_asked_with_their_first_event_and_hear_it_when_they_have_confirmed(client):
    tenant = TenantFactory(alert_emails=["cfo@acme.example"])
    publish(tenant, EventType.EXCEEDED, {"spend_usd": "1"}, key="1")
    deliver_due()
    assert [each.to for each in mail.outbox] == [["cfo@acme.example"]]
    assert events() == []

    client.post(mailed_link())
    deliver_due()

    assert [each.to for each in events()] == [["cfo@acme.example"]]


def test_an_alert_address_is_asked_when_it_is_set_and_not_at_its_first_alert(settings):
    settings.OPERATOR_EMAILS = ["ops@example.com"]
    TenantFactory(alert_emails=["cfo@acme.example"])
    TenantFactory(alert_emails=["gone@acme.example"], deleted_at=timezone.now())

    asked = [ask_new_alert_addresses() for _ in range(2)]

    assert asked == [1, 0]
    assert [each.to for each in mail.outbox] == [["cfo@acme.example"]]
