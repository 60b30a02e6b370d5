"""The portal's webhooks."""

import pytest
from django.urls import reverse

from billing.models import (
    WebhookDelivery,
)
from tenants.models import Role
from tests.gateway_project.portal.test_access import acme as acme  # a fixture
from tests.gateway_project.portal.test_access import as_role as as_role  # a fixture

pytestmark = pytest.mark.django_db


def test_an_owner_adds_a_webhook_and_sees_its_secret_once(as_role, acme):
    owner = as_role(Role.OWNER)
    url = reverse("portal:webhooks", args=["acme"])
    page = owner.post(url, {"url": "https://93.184.216.34/hook", "events": []}).content.decode()
    assert "whsec_" in page
    assert "whsec_" not in owner.get(url).content.decode()
    refused = owner.post(url, {"url": "http://169.254.169.254/"}).content.decode()
    assert "whsec_" not in refused


def test_a_test_event_is_queued(as_role, acme):
    as_role(Role.DEVELOPER).post(reverse("portal:webhook-test", args=["acme", acme["endpoint_id"]]))
    assert WebhookDelivery.objects.filter(endpoint_id=acme["endpoint_id"]).count() == 2
