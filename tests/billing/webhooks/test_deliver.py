"""Deliveries to receivers on real sockets."""

import json
import socket
import threading
from collections import Counter
from datetime import timedelta
from email.utils import format_datetime

import pytest
from django.core import mail
from django.utils import timezone
from standardwebhooks.webhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

from billing.address_guard import destination_of
from billing.alerts.notices import LOOK_BACK, announce_keys
from billing.models import DeliveryStatus, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from billing.webhooks.attempt import Ending
from billing.webhooks.deliver import SCHEDULE, _claim, _write_back, deliver_due
from billing.webhooks.endpoints import start_afresh
from billing.webhooks.event_types import EventType
from billing.webhooks.publish import publish, redeliver
from gateway_project.ground.secrets import decrypt
from tenants.keys import issue_key, revoke_key
from tenants.models import ApiKey
from tests.factories import StaffFactory, TenantFactory, WebhookDeliveryFactory, WebhookEndpointFactory

pytestmark = pytest.mark.django_db(transaction=True)


def due_now(delivery):
    WebhookDelivery.objects.filter(pk=delivery.pk).update(next_attempt_at=timezone.now())


def the_delivery():
    return WebhookDelivery.objects.get()


def test_an_event_arrives_signed_so_that_the_public_libraries_accept_it(receiver, endpoint):
    publish(endpoint.tenant, EventType.THRESHOLD, {"threshold_percent": 80}, key="1")
    deliver_due()

    [(headers, body)] = receiver.came
    payload = json.loads(body)
    Webhook(decrypt(endpoint.secret)).verify(body, headers)
    SvixWebhook(decrypt(endpoint.secret)).verify(body, headers)
    assert payload["type"] == "budget.threshold_reached"
    assert payload["data"] == {"tenant": endpoint.tenant.slug, "threshold_percent": 80}
    assert headers["host"] == receiver.place
    assert the_delivery().status == DeliveryStatus.DELIVERED


def test_a_failure_is_tried_again_by_the_schedule_under_the_same_id(receiver, endpoint):
    receiver.answers = [(500, {}), (200, {})]
    publish(endpoint.tenant, EventType.EXCEEDED, {}, key="1")
    deliver_due()
    delivery = the_delivery()
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.PENDING, 1)
    assert 4 < (delivery.next_attempt_at - timezone.now()).total_seconds() < 6

    due_now(delivery)
    deliver_due()
    assert the_delivery().status == DeliveryStatus.DELIVERED
    assert len({headers["webhook-id"] for headers, _ in receiver.came}) == 1
    assert [each.http_status for each in WebhookAttempt.objects.order_by("number")] == [500, 200]


def test_after_the_last_attempt_it_is_given_up_visibly_and_can_be_sent_again(receiver, endpoint):
    receiver.answers = [(500, {}), (200, {})]
    delivery = WebhookDeliveryFactory(endpoint=endpoint, attempts=len(SCHEDULE) - 1)
    deliver_due()
    assert the_delivery().status == DeliveryStatus.FAILED

    delivery.refresh_from_db()
    redeliver(delivery)
    deliver_due()
    assert the_delivery().status == DeliveryStatus.DELIVERED


def test_gone_disables_the_endpoint_and_tells_the_operator(receiver, endpoint):
    StaffFactory(email="ops@example.com")  # so that the address need not confirm
    operator = WebhookEndpointFactory(tenant=None, url="mailto:ops@example.com", events=["webhook.disabled"])
    receiver.answers = [(410, {})]
    publish(endpoint.tenant, EventType.EXCEEDED, {}, key="1")
    deliver_due()

    endpoint.refresh_from_db()
    assert not endpoint.enabled
    assert "410" in endpoint.disabled_reason
    assert operator.deliveries.get().event_type == "webhook.disabled"
    assert mail.outbox[-1].to == ["ops@example.com"]


@pytest.mark.parametrize(("days", "enabled"), [(4.9, True), (5.1, False)])
def test_five_days_of_failure_disable_it_with_a_notice(receiver, endpoint, settings, days, enabled):
    settings.OPERATOR_EMAILS = ["ops@example.com"]
    endpoint.tenant.alert_emails = ["tenant@example.com"]
    endpoint.tenant.save()
    receiver.answers = [(500, {})]
    endpoint.failing_since = timezone.now() - timedelta(days=days)
    endpoint.save()
    WebhookDeliveryFactory(endpoint=endpoint)
    deliver_due()

    endpoint.refresh_from_db()
    assert endpoint.enabled == enabled
    told = sorted(address for each in mail.outbox for address in each.to)
    assert told == ([] if enabled else ["ops@example.com", "tenant@example.com"])


def test_what_waits_for_a_disabled_endpoint_is_sent_once_it_is_on_again(receiver, endpoint):
    endpoint.enabled, endpoint.failing_since = False, timezone.now() - timedelta(days=9)
    endpoint.save()
    WebhookDeliveryFactory(endpoint=endpoint)
    assert deliver_due() == 0

    start_afresh(endpoint)
    endpoint.save()
    deliver_due()
    assert the_delivery().status == DeliveryStatus.DELIVERED


def test_a_success_ends_a_time_of_failure(receiver, endpoint):
    endpoint.failing_since = timezone.now() - timedelta(days=4)
    endpoint.save()
    WebhookDeliveryFactory(endpoint=endpoint)
    deliver_due()

    endpoint.refresh_from_db()
    assert endpoint.failing_since is None


def a_date_in(seconds):
    return format_datetime(timezone.now() + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("status", [429, 502, 504])
@pytest.mark.parametrize("after", [lambda: "120", lambda: a_date_in(120)], ids=["seconds", "date"])
def test_retry_after_is_honoured_for_the_whole_endpoint(receiver, endpoint, status, after):
    receiver.answers = [(status, {"retry-after": after()}), (200, {})]
    WebhookDeliveryFactory(endpoint=endpoint)
    deliver_due()
    WebhookDeliveryFactory(endpoint=endpoint)
    deliver_due()

    assert len(receiver.came) == 1
    first = WebhookDelivery.objects.order_by("pk")[0]
    assert first.next_attempt_at
    assert 100 < (first.next_attempt_at - timezone.now()).total_seconds() < 140
    endpoint.refresh_from_db()
    assert 100 < (endpoint.slow_until - timezone.now()).total_seconds() < 140


def test_an_endless_retry_after_is_a_day(receiver, endpoint):
    receiver.answers = [(429, {"retry-after": "1" * 5_000})]
    WebhookDeliveryFactory(endpoint=endpoint)

    deliver_due()

    endpoint.refresh_from_db()
    assert 86_000 < (endpoint.slow_until - timezone.now()).total_seconds() <= 86_400


def test_without_a_word_of_when_it_is_spared_for_a_minute(receiver, endpoint):
    receiver.answers = [(429, {})]
    WebhookDeliveryFactory(endpoint=endpoint)
    deliver_due()
    endpoint.refresh_from_db()
    assert 50 < (endpoint.slow_until - timezone.now()).total_seconds() <= 60


def test_a_success_among_failures_that_began_with_it_ends_the_time_of_failure(endpoint):
    """Otherwise a quiet week later a single failure would look like five days of them."""
    for _ in range(2):
        WebhookDeliveryFactory(endpoint=endpoint)
    failing, working = _claim(Counter(), 10)
    for delivery, status in ((failing, 500), (working, 200)):
        _write_back([(delivery, Ending(began=timezone.now(), duration_ms=1, http_status=status))])

    endpoint.refresh_from_db()
    assert endpoint.failing_since is None


def test_a_redirect_is_a_failure_and_is_not_followed(receiver, endpoint):
    receiver.answers = [(302, {"location": "http://169.254.169.254/"})]
    WebhookDeliveryFactory(endpoint=endpoint)
    deliver_due()
    assert len(receiver.came) == 1
    assert the_delivery().last_error == "responded with HTTP 302"


def test_an_address_that_became_private_is_not_called(receiver, endpoint, settings):
    settings.WEBHOOK_ALLOW_HOSTS = []
    WebhookDeliveryFactory(endpoint=endpoint)
    deliver_due()
    assert receiver.came == []
    assert the_delivery().last_error.startswith("not sent")


def test_a_claim_that_died_is_due_again_a_minute_later(receiver, endpoint):
    WebhookDeliveryFactory(endpoint=endpoint)
    [claimed] = _claim(Counter(), 10)
    assert _claim(Counter(), 10) == []

    due_now(claimed)
    deliver_due()
    assert len(receiver.came) == 1


def test_an_endpoint_that_does_not_answer_delays_no_other(receiver, endpoint, settings, monkeypatch):
    monkeypatch.setattr("billing.webhooks.attempt.TIMEOUT_SECONDS", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        settings.WEBHOOK_ALLOW_HOSTS = [receiver.place, place]
        hanging = WebhookEndpointFactory(url=f"http://{place}/")
        for _ in range(30):
            WebhookDeliveryFactory(endpoint=hanging)
        for _ in range(100):
            WebhookDeliveryFactory(endpoint=endpoint)
        deliver_due(seconds=3)

    delivered = WebhookDelivery.objects.filter(status=DeliveryStatus.DELIVERED)
    assert delivered.count() == 100
    assert WebhookAttempt.objects.filter(delivery__endpoint=hanging).count() <= 16


def test_a_name_that_cannot_be_looked_up_delays_no_other(receiver, endpoint, settings, monkeypatch):
    """Look-ups run in threads: as many hang here as a small pool would have."""
    answered = threading.Event()

    def look_up(url):
        if "hangs" in url:
            answered.wait(20)
            raise socket.gaierror
        return destination_of(url)

    monkeypatch.setattr("billing.webhooks.attempt.destination_of", look_up)
    for number in range(10):
        WebhookDeliveryFactory.create_batch(
            8, endpoint=WebhookEndpointFactory(url=f"https://hangs{number}.example/")
        )
    WebhookDeliveryFactory.create_batch(50, endpoint=endpoint)
    run = threading.Thread(target=deliver_due, kwargs={"seconds": 3})
    run.start()
    while len(receiver.came) < 50 and run.is_alive():
        run.join(0.05)
    answered.set()
    run.join()

    assert len(receiver.came) == 50


def test_an_endpoint_that_fails_has_one_request_open_at_a_time(endpoint):
    WebhookDeliveryFactory.create_batch(20, endpoint=endpoint)
    assert len(_claim(Counter(), 300)) == 8
    endpoint.failing_since = timezone.now()
    endpoint.save()
    assert len(_claim(Counter(), 300)) == 1


def test_a_secret_that_cannot_be_read_stops_no_other_delivery(receiver, endpoint):
    WebhookDeliveryFactory(endpoint=WebhookEndpointFactory(url=receiver.url, secret="enc:nonsense"))
    WebhookDeliveryFactory(endpoint=endpoint)
    deliver_due()

    assert [each.status for each in WebhookDelivery.objects.order_by("pk")] == ["pending", "delivered"]


def test_keys_that_were_made_or_revoked_are_told_of_once(receiver, endpoint):
    issued = issue_key(tenant=endpoint.tenant, name="app")
    announce_keys()
    revoke_key(api_key=issued.api_key)
    announce_keys()
    announce_keys()

    types = [each.event_type for each in WebhookDelivery.objects.order_by("pk")]
    assert types == ["key.created", "key.revoked"]


def test_a_key_of_an_outage_is_told_of_by_the_longer_look_back(endpoint):
    key = issue_key(tenant=endpoint.tenant, name="app").api_key
    an_hour_ago = timezone.now() - timedelta(hours=1)
    WebhookEndpoint.objects.update(created_at=an_hour_ago - timedelta(hours=1))
    ApiKey.objects.filter(pk=key.pk).update(created_at=an_hour_ago)

    assert (announce_keys(), announce_keys(LOOK_BACK), announce_keys(LOOK_BACK)) == (0, 1, 0)


def test_keys_cost_one_question_where_nobody_listens(django_assert_num_queries):
    for number in range(3):
        issue_key(tenant=TenantFactory(), name=f"app {number}")
    WebhookEndpointFactory(events=["budget.exceeded"])

    with django_assert_num_queries(1):
        assert announce_keys() == 0


def test_keys_that_were_told_of_cost_no_more_than_one(endpoint, django_assert_num_queries):
    for number in range(5):
        issue_key(tenant=endpoint.tenant, name=f"app {number}")
    assert announce_keys() == 5

    with django_assert_num_queries(3):
        assert announce_keys() == 0


def test_a_new_endpoint_is_not_told_of_old_keys():
    tenant = TenantFactory()
    issue_key(tenant=tenant, name="app")
    WebhookEndpointFactory(tenant=tenant)
    assert announce_keys() == 0
