"""`mailto:` endpoints: who gets events, after which word of theirs, and how many."""

import re
from datetime import timedelta

import pytest
from django.core import mail
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from billing.models import WebhookDelivery, WebhookEndpoint
from billing.webhooks import email
from billing.webhooks.confirmation import MOST_FOR_AN_ADDRESS, VALID_SECONDS, awaits_confirmation, confirm
from billing.webhooks.deliver import deliver_due
from billing.webhooks.event_types import EventType
from billing.webhooks.publish import publish, publish_test
from gateway_project.portal.webhooks import MOST_BY_HAND
from tenants.models import Role
from tenants.people.operators import rotate_token
from tests.factories import (
    MembershipFactory,
    StaffFactory,
    TenantFactory,
    WebhookDeliveryFactory,
    WebhookEndpointFactory,
)

pytestmark = pytest.mark.django_db(transaction=True)
STRANGER = "mailto:stranger@example.com"


@pytest.fixture
def owner(client):
    membership = MembershipFactory(tenant=TenantFactory(slug="acme", name="Acme"), role=Role.OWNER)
    client.force_login(membership.user)
    return membership


def adds(client, url=STRANGER):
    return client.post("/portal/t/acme/webhooks/", {"url": url}, follow=True).content.decode()


def mailed_link(number=-1):
    found = re.search(r"https?://[^/]+(/portal/email/\S+)", str(mail.outbox[number].body))
    assert found
    return found[1]


def presses(client, name, pk):
    return client.post(reverse(f"portal:{name}", args=["acme", pk]), follow=True).content.decode()


def events():
    return [each for each in mail.outbox if each.subject.startswith("[Tenantry]")]


def test_nothing_is_sent_before_the_address_has_confirmed_and_all_that_waited_after(client, owner):
    page = adds(client)
    endpoint = WebhookEndpoint.objects.get()
    publish(owner.tenant, EventType.EXCEEDED, {"spend_usd": "1"}, key="1")
    deliver_due()
    assert "emailed a confirmation link to stranger@example.com" in page
    assert "not confirmed" in page
    assert events() == []
    assert "has not been confirmed" in WebhookDelivery.objects.get().last_error

    client.logout()  # whoever reads the mail has no account here
    assert "Confirm" in client.get(mailed_link(0)).content.decode()
    deliver_due()
    assert events() == []  # mail scanners open links, and press no button

    assert (
        "Events for Acme will now be emailed to stranger@example.com"
        in client.post(mailed_link(0)).content.decode()
    )
    deliver_due()
    assert [each.to for each in events()] == [["stranger@example.com"]]
    assert not awaits_confirmation(WebhookEndpoint.objects.get(pk=endpoint.pk))


def test_a_test_event_to_an_address_that_has_not_confirmed_is_refused(client, owner):
    adds(client)

    page = presses(client, "webhook-test", WebhookEndpoint.objects.get().pk)

    assert "has not been confirmed yet" in page
    assert not WebhookDelivery.objects.exists()


def test_a_stranger_is_asked_a_few_times_and_then_left_alone(client, owner):
    adds(client)
    endpoint = WebhookEndpoint.objects.get()
    pages = [presses(client, "webhook-confirmation", endpoint.pk) for _ in range(MOST_FOR_AN_ADDRESS + 3)]
    for number in range(20):
        publish(owner.tenant, EventType.EXCEEDED, {}, key=str(number))
        WebhookDelivery.objects.update(next_attempt_at=timezone.now())
        deliver_due()
        WebhookEndpoint.objects.get().delete()
        adds(client)
        endpoint = WebhookEndpoint.objects.get()

    assert len(mail.outbox) <= MOST_FOR_AN_ADDRESS + 1
    assert events() == []
    assert f"Limit reached: {MOST_FOR_AN_ADDRESS} confirmation emails to one address per day" in pages[-1]


def test_another_address_has_to_confirm_for_itself(client, owner):
    adds(client)
    link = mailed_link()
    client.post(link)
    endpoint = WebhookEndpoint.objects.get()
    assert not awaits_confirmation(endpoint)

    WebhookEndpoint.objects.update(url="mailto:victim@example.com")

    endpoint.refresh_from_db()
    assert awaits_confirmation(endpoint)
    assert client.post(link).status_code == 404
    WebhookDeliveryFactory(endpoint=endpoint)
    deliver_due()
    assert events() == []


@pytest.mark.parametrize("spoil", [lambda link: link[:-6] + "xxxxx/", lambda link: "/portal/email/x/"])
def test_a_link_made_by_hand_confirms_nothing(client, owner, spoil):
    adds(client)

    assert client.post(spoil(mailed_link())).status_code == 404
    assert WebhookEndpoint.objects.get().confirmed_address == ""


def test_a_link_expires(client, owner, monkeypatch):
    adds(client)
    later = timezone.now() + timedelta(seconds=VALID_SECONDS + 60)
    monkeypatch.setattr("django.core.signing.time.time", later.timestamp)

    assert client.post(mailed_link()).status_code == 404


def test_the_operators_own_addresses_need_not_confirm_and_others_do(settings):
    settings.OPERATOR_EMAILS = ["Ops@example.com"]
    StaffFactory(email="ada@company.example")
    StaffFactory(email="gone@company.example", is_active=False)
    tenant = TenantFactory()

    def made(address, **fields):
        return awaits_confirmation(WebhookEndpointFactory(url=f"mailto:{address}", **fields))

    assert not made("ops@example.com", tenant=None)
    assert not made("Ada@company.example", tenant=None)
    assert not made("ada@company.example", tenant=tenant, alert_address=True)
    assert made("gone@company.example", tenant=None)
    assert made("typo@elsewhere.example", tenant=tenant, alert_address=True)
    assert made("ada@company.example", tenant=tenant)  # a customer typed it
    assert not awaits_confirmation(WebhookEndpointFactory(url="https://example.com/hook"))


def test_events_in_a_loop_wait_for_the_next_hour(monkeypatch):
    monkeypatch.setattr(email, "MOST_FOR_AN_ADDRESS", 3)
    endpoint = WebhookEndpointFactory(url=STRANGER)
    confirm(endpoint)
    for number in range(5):
        publish(endpoint.tenant, EventType.KEY_CREATED, {"name": "call me"}, key=str(number))
    deliver_due()

    waiting = WebhookDelivery.objects.filter(status="pending")
    assert len(events()) == 3
    assert len(waiting) == 2
    for row in waiting:
        assert "Limit reached: 3 emails to one address per hour" in row.last_error
        assert row.next_attempt_at is not None
        assert row.next_attempt_at <= timezone.now() + timedelta(hours=1, minutes=1)


def test_one_tenants_events_do_not_use_up_anothers(monkeypatch):
    monkeypatch.setattr(email, "MOST_FOR_A_TENANT", 2)
    loud, quiet = (WebhookEndpointFactory(url=STRANGER) for _ in range(2))
    for endpoint in (loud, quiet):
        confirm(endpoint)
    for number in range(4):
        publish(loud.tenant, EventType.EXCEEDED, {}, key=f"loud {number}")
    publish(quiet.tenant, EventType.EXCEEDED, {}, key="quiet")
    deliver_due()

    assert quiet.deliveries.get().status == "delivered"
    assert loud.deliveries.filter(status="delivered").count() == 2


def test_test_events_in_a_loop_end_at_a_limit_and_say_so(client, owner):
    endpoint = WebhookEndpointFactory(tenant=owner.tenant)

    pages = [presses(client, "webhook-test", endpoint.pk) for _ in range(MOST_BY_HAND + 2)]
    again = presses(client, "delivery-again", WebhookDelivery.objects.latest("pk").pk)

    assert WebhookDelivery.objects.count() == MOST_BY_HAND
    for page in (pages[-1], again):
        assert f"Limit reached: {MOST_BY_HAND} test events and resends from one organisation per hour" in page


def test_without_mail_the_form_refuses_an_address(client, owner, settings):
    settings.EMAIL_HOST = ""

    assert "This installation does not send email" in adds(client)
    assert not WebhookEndpoint.objects.exists()


def test_without_mail_a_delivery_says_what_is_missing(settings):
    endpoint = WebhookEndpointFactory(url=STRANGER)
    confirm(endpoint)
    settings.EMAIL_HOST = ""
    publish_test(endpoint)
    deliver_due()

    assert "EMAIL_HOST is not set" in WebhookDelivery.objects.get().last_error


def test_the_api_asks_and_says_who_has_not_confirmed(redis_server):
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(StaffFactory())}")
    tenant = TenantFactory()

    made = api.post("/api/webhooks/", {"tenant": tenant.slug, "url": STRANGER}, format="json").json()
    api.post(mailed_link())

    assert made["confirmed"] is False
    assert api.get(f"/api/webhooks/{made['id']}/").json()["confirmed"] is True


def test_the_console_asks_and_shows_who_has_not_confirmed(client):
    client.force_login(StaffFactory())
    form = {"url": STRANGER, "tenant": TenantFactory().pk, "events": [], "enabled": "on"}

    page = client.post(reverse("admin:billing_webhookendpoint_add"), form, follow=True).content.decode()

    assert "must confirm before events are sent there." in page
    assert "not confirmed" in page
    test = reverse("admin:billing_webhookendpoint_send_test", args=[WebhookEndpoint.objects.get().pk])
    assert "emailed a confirmation link" in client.post(test, follow=True).content.decode()
    assert len(mail.outbox) == 2
    assert not WebhookDelivery.objects.exists()
