"""The second channel: emails out of the same outbox."""

import signal
from email import message_from_bytes

import pytest
from django.core import mail
from django.utils import timezone

from billing.models import WebhookDelivery, WebhookEndpoint
from billing.webhooks.confirmation import confirm
from billing.webhooks.deliver import deliver_due
from billing.webhooks.email import email_of
from billing.webhooks.event_types import EventType
from billing.webhooks.publish import publish
from tests.factories import TenantFactory, WebhookDeliveryFactory, WebhookEndpointFactory
from tests.processes import run

pytestmark = pytest.mark.django_db(transaction=True)


def told(tenant, event_type=EventType.EXCEEDED, key="1"):
    publish(tenant, event_type, {"spend_usd": "100.5"}, key=f"{tenant.pk}:{key}")


def confirmed(tenant=None):
    """The addresses that events go to, as if each had confirmed by its link."""
    for endpoint in WebhookEndpoint.objects.filter(tenant=tenant):
        assert confirm(endpoint)


def recipients():
    return sorted(address for each in mail.outbox for address in each.to)


def test_alert_addresses_get_an_email_once():
    tenant = TenantFactory(alert_emails=["a@example.com", "b@example.com"])
    told(tenant)
    confirmed(tenant)
    told(tenant)
    deliver_due()
    deliver_due()

    assert recipients() == ["a@example.com", "b@example.com"]
    assert mail.outbox[0].subject == f"[Tenantry] {tenant.slug} has used all of its budget"
    assert "spend usd: 100.5" in mail.outbox[0].body


def test_the_operators_addresses_hear_of_every_tenant_but_not_of_every_threshold(settings):
    settings.OPERATOR_EMAILS = ["ops@example.com"]
    for tenant in (TenantFactory(), TenantFactory()):
        told(tenant)
        told(tenant, EventType.THRESHOLD)
    deliver_due()
    assert recipients() == ["ops@example.com", "ops@example.com"]


def test_a_line_break_in_a_name_does_not_become_a_header():
    endpoint = WebhookEndpointFactory(url="mailto:a@example.com")
    data = {"tenant": "acme", "name": "x\r\nBcc: all@example.com"}
    delivery = WebhookDeliveryFactory(
        endpoint=endpoint, event_type=EventType.KEY_CREATED, payload={"data": data}
    )
    assert email_of(delivery).subject == "[Tenantry] acme: the API key x Bcc: all@example.com was created"


@pytest.mark.parametrize("event_type", list(EventType))
def test_every_event_can_be_written_as_an_email(event_type):
    delivery = WebhookDeliveryFactory.build(event_type=event_type, payload={"data": {"tenant": "acme"}})
    delivery.endpoint = WebhookEndpointFactory.build(url="mailto:a@example.com")
    assert email_of(delivery).message()["Subject"] != f"[Tenantry] {event_type}"


def a_worker_that_is_killed(*, dies, folder):
    """Deliver what is due in a process of its own, whose mail backend kills it."""
    code = f"""
from django.conf import settings
from billing.webhooks.deliver import deliver_due
settings.EMAIL_BACKEND = "tests.billing.webhooks.dying_mail.EmailBackend"
settings.EMAIL_FILE_PATH = {str(folder)!r}
deliver_due()
"""
    return run(code, DIES=dies)


@pytest.mark.parametrize(("dies", "sent_by_the_dead"), [("before", 0), ("after", 1)])
def test_a_worker_that_is_killed_forgets_no_email(tmp_path, dies, sent_by_the_dead):
    tenant = TenantFactory(alert_emails=["a@example.com"])
    told(tenant)
    confirmed(tenant)
    assert a_worker_that_is_killed(dies=dies, folder=tmp_path) == -signal.SIGKILL

    assert deliver_due() == 0  # its claim holds for a minute
    WebhookDelivery.objects.update(next_attempt_at=timezone.now())
    deliver_due()
    deliver_due()

    sent = [message_from_bytes(file.read_bytes()) for file in tmp_path.iterdir()]
    assert len(sent) == sent_by_the_dead
    [again] = mail.outbox
    # Killed between the mail server's word and the commit: by its id the second is known as the same email.
    assert {each["Message-ID"] for each in sent} <= {again.message()["Message-ID"]}
