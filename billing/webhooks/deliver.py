"""Delivering what is due: rows claimed, sent at the same time, and written back.

A claim only moves `next_attempt_at` on: a worker that dies in the middle leaves a row that is due again a
minute later. No endpoint has more than a few requests open, so that those that hang do not delay the others.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import httpx
from asgiref.sync import sync_to_async
from django.core.mail import mail_admins
from django.db import close_old_connections, transaction
from django.utils import timezone

from billing.models import DeliveryStatus, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from billing.webhooks.attempt import TIMEOUT_SECONDS, Ending, attempt
from billing.webhooks.publish import EventType, publish

logger = logging.getLogger(__name__)
T = TypeVar("T")
# Seconds before each attempt, as Standard Webhooks recommends.
HOUR = 3600
SCHEDULE = (0, 5, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
CLAIM_SECONDS = 4 * TIMEOUT_SECONDS
AT_ONCE_PER_ENDPOINT = 8
AT_ONCE = 300
GIVE_UP_ON_ENDPOINT_AFTER = timedelta(days=5)
SLOWED_SECONDS = 60
_SLOW_DOWN = {429, 502, 504}

_CLAIM = """
WITH due AS (
    SELECT picked.id FROM billing_webhookendpoint endpoint
    CROSS JOIN LATERAL (
        SELECT id FROM billing_webhookdelivery delivery
        WHERE delivery.endpoint_id = endpoint.id AND status = 'pending' AND next_attempt_at <= %(now)s
        ORDER BY next_attempt_at LIMIT %(each)s FOR UPDATE SKIP LOCKED
    ) picked
    WHERE endpoint.enabled AND NOT endpoint.id = ANY(%(busy)s)
      AND (endpoint.slow_until IS NULL OR endpoint.slow_until <= %(now)s)
      AND endpoint.id IN (SELECT endpoint_id FROM billing_webhookdelivery
                          WHERE status = 'pending' AND next_attempt_at <= %(now)s)
    LIMIT %(most)s
)
UPDATE billing_webhookdelivery SET next_attempt_at = %(until)s FROM due
WHERE billing_webhookdelivery.id = due.id RETURNING billing_webhookdelivery.*
"""


def deliver_due(*, seconds: float = 50) -> int:
    """Send what is due until nothing is, or `seconds` have passed; how many attempts that were."""
    return asyncio.run(_deliver(seconds))


async def _deliver(seconds: float) -> int:
    loop = asyncio.get_running_loop()
    until, done = loop.time() + seconds, 0
    transport = httpx.AsyncHTTPTransport(
        trust_env=False, limits=httpx.Limits(max_connections=None, max_keepalive_connections=AT_ONCE)
    )
    open_attempts: dict[asyncio.Task[Ending], WebhookDelivery] = {}
    async with transport:
        while True:
            if loop.time() < until:
                busy = Counter(delivery.endpoint_id for delivery in open_attempts.values())
                claimed = await _in_thread(_claim, busy, AT_ONCE - len(open_attempts))
                for delivery in claimed:
                    open_attempts[asyncio.create_task(attempt(delivery, transport))] = delivery
            if not open_attempts:
                return done
            # A moment for others to end as well: they are written back together.
            await asyncio.wait(open_attempts, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0.02)
            ended = [(open_attempts.pop(task), task.result()) for task in list(open_attempts) if task.done()]
            await _in_thread(_write_back, ended)
            done += len(ended)


def _claim(busy: Counter[int], most: int) -> list[WebhookDelivery]:
    """Due rows of endpoints that have none open, with their endpoints; nobody else gets them for a minute."""
    now = timezone.now()
    values = {"now": now, "until": now + timedelta(seconds=CLAIM_SECONDS), "most": most}
    values |= {"each": AT_ONCE_PER_ENDPOINT, "busy": list(busy)}
    with transaction.atomic():
        rows = list(WebhookDelivery.objects.raw(_CLAIM, values))
    endpoints = WebhookEndpoint.objects.select_related("tenant").in_bulk({row.endpoint_id for row in rows})
    for row in rows:
        row.endpoint = endpoints[row.endpoint_id]
    return rows


def _write_back(ended: Sequence[tuple[WebhookDelivery, Ending]]) -> None:
    now = timezone.now()
    for delivery, ending in ended:
        _apply(delivery, ending, now)
    with transaction.atomic():
        WebhookAttempt.objects.bulk_create(
            WebhookAttempt(
                delivery=delivery,
                number=delivery.attempts,
                attempted_at=ending.began,
                duration_ms=ending.duration_ms,
                http_status=ending.http_status,
                error=ending.error,
                response=ending.response,
            )
            for delivery, ending in ended
        )
        WebhookDelivery.objects.bulk_update(
            [delivery for delivery, _ in ended],
            [
                "status",
                "attempts",
                "next_attempt_at",
                "last_attempt_at",
                "last_status",
                "last_error",
                "delivered_at",
            ],
        )
        for delivery, ending in sorted(ended, key=lambda pair: pair[0].endpoint_id):
            _note_on_endpoint(delivery.endpoint, ending, now)


def _apply(delivery: WebhookDelivery, ending: Ending, now: datetime) -> None:
    """What the ending means for the delivery."""
    delivery.attempts += 1
    delivery.last_attempt_at, delivery.last_status = ending.began, ending.http_status
    delivery.last_error = ending.error or ("" if ending.delivered else f"answered {ending.http_status}")
    if ending.delivered:
        delivery.status, delivery.delivered_at, delivery.next_attempt_at = DeliveryStatus.DELIVERED, now, None
    elif delivery.attempts >= len(SCHEDULE):
        delivery.status, delivery.next_attempt_at = DeliveryStatus.FAILED, None
    else:
        # Up to a tenth later, so that what failed together does not come back together.
        wait = SCHEDULE[delivery.attempts] * random.uniform(1, 1.1)
        delivery.next_attempt_at = now + timedelta(seconds=max(wait, ending.retry_after or 0))


def _note_on_endpoint(endpoint: WebhookEndpoint, ending: Ending, now: datetime) -> None:
    rows = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    if ending.delivered:
        if endpoint.failing_since or endpoint.slow_until:
            rows.update(failing_since=None, slow_until=None)
        return
    if ending.http_status in _SLOW_DOWN:
        rows.update(slow_until=now + timedelta(seconds=ending.retry_after or SLOWED_SECONDS))
    if endpoint.failing_since is None:
        endpoint.failing_since = now
        rows.filter(failing_since=None).update(failing_since=now)
    if ending.http_status == 410:
        _disable(endpoint, "The receiver answered 410 Gone.", now)
    elif now - endpoint.failing_since > GIVE_UP_ON_ENDPOINT_AFTER:
        _disable(endpoint, "Nothing was delivered for five days.", now)


def _disable(endpoint: WebhookEndpoint, reason: str, now: datetime) -> None:
    """Stop sending there, and tell the operator by event and by mail; what is pending waits."""
    changed = WebhookEndpoint.objects.filter(pk=endpoint.pk, enabled=True).update(
        enabled=False, disabled_at=now, disabled_reason=reason
    )
    if not changed:
        return
    logger.warning("webhook endpoint %s disabled: %s", endpoint.pk, reason)
    data = {"endpoint": endpoint.pk, "url": endpoint.url, "reason": reason}
    publish(endpoint.tenant, EventType.ENDPOINT_DISABLED, data, key=f"{endpoint.pk}:{now.isoformat()}")
    owner = endpoint.tenant.slug if endpoint.tenant else "the operator"
    letter = f"{endpoint.url} (of {owner}) was disabled. {reason} Enable it in the console once it works."
    transaction.on_commit(lambda: mail_admins("A webhook endpoint was disabled", letter, fail_silently=True))


async def _in_thread(work: Callable[..., T], *args: Any) -> T:
    def run() -> T:
        close_old_connections()
        try:
            return work(*args)
        finally:
            close_old_connections()

    return await sync_to_async(run, thread_sensitive=False)()
