"""The control API's webhooks through its door."""

import pytest
from rest_framework.test import APIClient

from billing.models import WebhookDelivery, WebhookEndpoint
from gateway_project.ground.secrets import decrypt
from tenants.people.operators import rotate_token
from tests.factories import StaffFactory, TenantFactory, WebhookDeliveryFactory, WebhookEndpointFactory

pytestmark = pytest.mark.django_db
URL = "https://hooks.example.com/tenantry"


@pytest.fixture
def api(redis_server):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(StaffFactory())}")
    return client


def test_an_endpoint_shows_its_secret_once(api):
    tenant = TenantFactory()
    body = {"tenant": tenant.slug, "url": URL, "events": ["budget.exceeded"]}
    made = api.post("/api/webhooks/", body, format="json")

    assert made.status_code == 201, made.json()
    endpoint = WebhookEndpoint.objects.get()
    assert made.json()["secret"] == decrypt(endpoint.secret)
    assert (endpoint.tenant, endpoint.events) == (tenant, ["budget.exceeded"])
    for shown in (
        api.get(f"/api/webhooks/{endpoint.pk}/").json(),
        api.get("/api/webhooks/").json()["results"][0],
    ):
        assert "secret" not in shown


def test_the_operators_own_has_no_tenant(api):
    made = api.post("/api/webhooks/", {"tenant": None, "url": URL, "events": []}, format="json")
    assert made.status_code == 201
    assert made.json()["tenant"] is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "https://169.254.169.254/"}, "url"),
        ({"events": ["budget.exploded"]}, "events"),
        ({"tenant": "nobody"}, "tenant"),
        ({"secret": ""}, "secret"),
    ],
)
def test_bad_input_names_its_field(api, change, field):
    answer = api.post("/api/webhooks/", {"tenant": None, "url": URL, "events": [], **change}, format="json")
    assert answer.status_code == 400
    assert field in answer.json()


def test_rotating_answers_a_new_secret(api):
    endpoint = WebhookEndpointFactory()
    answer = api.post(f"/api/webhooks/{endpoint.pk}/rotate/")
    endpoint.refresh_from_db()
    assert answer.json()["secret"] == decrypt(endpoint.secret)
    assert endpoint.previous_secret_until is not None


def test_a_test_event_is_queued_for_this_endpoint_alone(api):
    endpoint, _ = WebhookEndpointFactory(), WebhookEndpointFactory()
    answer = api.post(f"/api/webhooks/{endpoint.pk}/test/")
    assert answer.status_code == 202
    assert [each.endpoint for each in WebhookDelivery.objects.all()] == [endpoint]


def test_deliveries_are_listed_and_sent_again(api):
    delivery = WebhookDeliveryFactory(status="failed", next_attempt_at=None, attempts=10)
    page = api.get(f"/api/webhooks/{delivery.endpoint.pk}/deliveries/").json()
    assert [each["event_id"] for each in page["results"]] == [delivery.event_id]

    again = api.post(f"/api/webhooks/{delivery.endpoint.pk}/deliveries/{delivery.pk}/redeliver/")
    assert again.status_code == 202
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("pending", 0)


def test_an_endpoint_stays_with_its_tenant(api):
    endpoint = WebhookEndpointFactory()
    answer = api.patch(f"/api/webhooks/{endpoint.pk}/", {"tenant": TenantFactory().slug}, format="json")
    assert answer.status_code == 400


def test_enabling_again_is_a_fresh_start(api):
    endpoint = WebhookEndpointFactory(enabled=False, disabled_reason="gone")
    assert api.patch(f"/api/webhooks/{endpoint.pk}/", {"enabled": True}, format="json").status_code == 200
    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.disabled_reason) == (True, "")


def test_deleting_takes_its_log_along(api):
    delivery = WebhookDeliveryFactory()
    assert api.delete(f"/api/webhooks/{delivery.endpoint.pk}/").status_code == 204
    assert not WebhookDelivery.objects.exists()


def test_a_tenants_endpoint_takes_no_event_that_only_the_operator_hears_of(api):
    tenant = TenantFactory()
    body = {"tenant": tenant.slug, "url": URL, "events": ["books.drift"]}

    assert "operator" in str(api.post("/api/webhooks/", body, format="json").json()["events"])
    assert api.post("/api/webhooks/", {**body, "tenant": None}, format="json").status_code == 201


def test_an_endpoint_with_an_unknown_event_of_old_can_be_switched_off_and_mended(api):
    endpoint = WebhookEndpointFactory(url=URL, events=["budget.foo"])

    assert api.get(f"/api/webhooks/{endpoint.pk}/").json()["events"] == ["budget.foo"]
    assert api.patch(f"/api/webhooks/{endpoint.pk}/", {"enabled": False}, format="json").status_code == 200
    mended = api.patch(f"/api/webhooks/{endpoint.pk}/", {"events": ["key.created"]}, format="json")
    assert mended.json()["events"] == ["key.created"]
