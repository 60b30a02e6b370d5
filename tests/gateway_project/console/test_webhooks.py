"""Staff try an endpoint and change its secret from the console."""

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from billing.models import WebhookDelivery, WebhookEndpoint
from billing.webhooks.event_types import MEANINGS, EventType
from gateway_project.ground.secrets import decrypt
from tests.factories import TenantFactory, WebhookEndpointFactory

pytestmark = pytest.mark.django_db


def address(action, endpoint):
    return reverse(f"admin:billing_webhookendpoint_{action}", args=[endpoint.pk])


def test_a_test_event_is_sent_by_a_button_and_not_by_a_link(staff):
    endpoint = WebhookEndpointFactory()
    assert "webhook.test" in staff.get(address("send_test", endpoint)).content.decode()
    assert not WebhookDelivery.objects.exists()

    staff.post(address("send_test", endpoint))
    assert WebhookDelivery.objects.get().event_type == "webhook.test"


def test_a_new_secret_is_shown_once_and_the_old_one_signs_along(staff):
    endpoint = WebhookEndpointFactory()
    before = endpoint.secret
    page = staff.post(address("rotate", endpoint)).content.decode()

    endpoint.refresh_from_db()
    assert decrypt(endpoint.secret) in page
    assert endpoint.previous_secret == before
    assert decrypt(endpoint.secret) not in staff.get(address("change", endpoint)).content.decode()


def test_finance_may_do_neither(as_role):
    endpoint = WebhookEndpointFactory()
    finance = as_role("Finance")
    for action in ("send_test", "rotate"):
        assert finance.post(address(action, endpoint)).status_code == 403


def test_switching_it_on_again_is_a_fresh_start(staff):
    endpoint = WebhookEndpointFactory(
        enabled=False, disabled_reason="gone", failing_since=timezone.now(), url="https://8.8.8.8/hooks"
    )
    staff.post(address("change", endpoint), {"url": endpoint.url, "enabled": "on"})

    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.disabled_reason, endpoint.failing_since) == (True, "", None)


URL = "https://8.8.8.8/hooks"


def add(client, **fields):
    return client.post(reverse("admin:billing_webhookendpoint_add"), {"url": URL, "enabled": "on", **fields})


def test_every_event_is_offered_with_a_line_that_says_what_it_means(staff):
    page = staff.get(reverse("admin:billing_webhookendpoint_add"))

    boxes = page.context["adminform"].form["events"]
    assert [box.data["value"] for box in boxes] == [each for each in EventType if each != EventType.TEST]
    for box in boxes:
        value = box.data["value"]
        assert str(box.data["label"]) == format_html("<code>{}</code> {}", value, MEANINGS[value])
        assert box.data["type"] == "checkbox"


def test_chosen_events_are_kept(staff):
    add(staff, events=["budget.exceeded", "key.created"])

    assert WebhookEndpoint.objects.get().events == ["budget.exceeded", "key.created"]


@pytest.mark.parametrize("events", [["budget.foo"], ["budget.exceeded", ""], ["budget.exceeded,key.created"]])
def test_an_event_that_does_not_exist_is_refused(staff, events):
    page = add(staff, events=events)

    assert "not one of the available choices" in page.content.decode()
    assert not WebhookEndpoint.objects.exists()


def test_what_only_the_operator_hears_of_is_refused_for_a_tenant(staff):
    tenant = TenantFactory()

    page = add(staff, tenant=tenant.pk, events=["books.drift"])

    assert "operator&#x27;s own endpoints" in page.content.decode()
    assert not WebhookEndpoint.objects.exists()


def test_a_model_that_is_checked_refuses_it_too():
    with pytest.raises(ValidationError) as refusal:
        WebhookEndpoint(url=URL, secret="x", events=["budget.foo"]).full_clean()

    assert "Unknown event budget.foo" in refusal.value.message_dict["events"][0]


@pytest.fixture
def old():
    """An endpoint from the time when events were typed."""
    return WebhookEndpointFactory(url=URL, events=["budget.foo", "budget.exceeded"])


def test_an_event_of_old_that_does_not_exist_is_shown_as_such(staff, old):
    listed = staff.get(reverse("admin:billing_webhookendpoint_changelist")).content.decode()
    page = staff.get(address("change", old)).content.decode()

    assert "budget.foo (unknown), budget.exceeded" in listed
    assert "This event does not exist" in page


def test_an_endpoint_of_old_can_be_mended_and_changed_otherwise_before(staff, old):
    kept = ["budget.foo", "budget.exceeded"]
    staff.post(address("change", old), {"url": URL, "description": "Ours", "enabled": "on", "events": kept})
    old.refresh_from_db()
    assert (old.description, old.events) == ("Ours", kept)

    staff.post(address("change", old), {"url": URL, "enabled": "on", "events": ["budget.exceeded"]})
    old.refresh_from_db()
    assert old.events == ["budget.exceeded"]

    page = staff.post(address("change", old), {"url": URL, "enabled": "on", "events": kept})
    assert "not one of the available choices" in page.content.decode()
