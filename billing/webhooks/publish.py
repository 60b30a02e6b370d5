"""Publish events: one row for each endpoint that listens, in the transaction that makes the event true."""

import logging
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from celery import current_app
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from kombu.exceptions import OperationalError

from billing.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from billing.webhooks.endpoints import keep_alert_addresses
from billing.webhooks.event_types import EMAILED_TO_OPERATORS, EMAILED_TO_TENANTS, INTERNAL, EventType
from tenants.models import Tenant

logger = logging.getLogger(__name__)
# By name: tasks import services, so a service that imported its task would make a circular import.
DELIVER = "billing.tasks.deliver_webhooks"
_EVENTS = uuid.UUID("7d5f3a52-6c1b-4d53-9d5a-2b6a0c3f1e77")


def publish(
    tenant: Tenant | None,
    event_type: EventType,
    data: Mapping[str, Any],
    *,
    key: str,
    at: datetime | None = None,
) -> int:
    """Create deliveries to the tenant's and the operator's endpoints. Returns how many are new.

    `key` identifies the event for good: publishing it again, from any process, makes no second delivery. Amounts in
    `data` are strings. Call this in the transaction that makes the event true. An event that is discovered later gives
    its time as `at`, and is not sent to endpoints that did not exist then.
    """
    endpoints = WebhookEndpoint.objects.filter(enabled=True).filter(
        Q(events=[]) | Q(events__contains=[event_type])
    )
    if at is not None:
        endpoints = endpoints.filter(created_at__lte=at)
    mine = Q(tenant=None)
    if tenant is not None and event_type not in INTERNAL:
        mine |= Q(tenant=tenant)
        keep_alert_addresses(tenant, EMAILED_TO_TENANTS)
    keep_alert_addresses(None, EMAILED_TO_OPERATORS)
    return _deliver(list(endpoints.filter(mine)), tenant, event_type, data, key)


def publish_test(endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Create a `webhook.test` delivery for this endpoint alone."""
    key = f"test:{uuid.uuid4()}"
    data = {"message": "If you can read this and its signature is valid, your endpoint works."}
    _deliver([endpoint], endpoint.tenant, EventType.TEST, data, key)
    return WebhookDelivery.objects.get(endpoint=endpoint, event_id=event_id(EventType.TEST, key))


def redeliver(delivery: WebhookDelivery) -> None:
    """Send a delivery again, with the same id and the schedule from its start."""
    delivery.status, delivery.attempts, delivery.next_attempt_at = DeliveryStatus.PENDING, 0, timezone.now()
    delivery.save(update_fields=["status", "attempts", "next_attempt_at"])
    transaction.on_commit(wake)


def event_id(event_type: EventType, key: str) -> str:
    """The `webhook-id`, which is the same for the same event, whichever process publishes it."""
    return f"msg_{uuid.uuid5(_EVENTS, f'{event_type}:{key}').hex}"


def _deliver(
    endpoints: list[WebhookEndpoint],
    tenant: Tenant | None,
    event_type: EventType,
    data: Mapping[str, Any],
    key: str,
) -> int:
    if not endpoints:
        return 0
    now = timezone.now()
    payload = {
        "type": event_type.value,
        "timestamp": now.isoformat().replace("+00:00", "Z"),
        "data": {"tenant": tenant.slug if tenant else None, **data},
    }
    name = event_id(event_type, key)
    known = set(
        WebhookDelivery.objects.filter(endpoint__in=endpoints, event_id=name).values_list(
            "endpoint_id", flat=True
        )
    )
    rows = [
        WebhookDelivery(
            endpoint=endpoint, event_id=name, event_type=event_type, payload=payload, next_attempt_at=now
        )
        for endpoint in endpoints
        if endpoint.pk not in known
    ]
    WebhookDelivery.objects.bulk_create(rows, ignore_conflicts=True)
    if rows:
        transaction.on_commit(wake)
    return len(rows)


def wake() -> None:
    """Ask a worker to deliver now. If the broker is away, a periodic task finds the rows some seconds later."""
    try:
        current_app.send_task(DELIVER, expires=30, retry=False)
    except OperationalError as error:
        logger.warning("no worker could be notified of a webhook: %s", error)
