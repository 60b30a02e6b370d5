"""Staff try an endpoint and change its secret from the console."""

import pytest
from django.urls import reverse
from django.utils import timezone

from billing.models import WebhookDelivery
from gateway_project.ground.secrets import decrypt
from tests.factories import WebhookEndpointFactory

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
    staff.post(address("change", endpoint), {"url": endpoint.url, "enabled": "on", "events": ""})

    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.disabled_reason, endpoint.failing_since) == (True, "", None)
