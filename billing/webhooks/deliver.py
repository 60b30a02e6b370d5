"""Deliver what is due: claim rows, send them concurrently, and write back how they ended.

A claim only moves `next_attempt_at`, so after a worker dies its rows are due again a minute later. An endpoint has at
most a few requests open, a failing one only one, so that endpoints that hang do not delay the others.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import uvloop
from asgiref.sync import sync_to_async
from django.db import close_old_connections, connection, transaction
from django.db.models import Q
from django.utils import timezone

from billing.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from billing.webhooks.attempt import AT_ONCE, TIMEOUT_SECONDS, Connections, Ending, attempt
from billing.webhooks.event_types import EventType
from billing.webhooks.publish import publish

logger = logging.getLogger(__name__)
T = TypeVar("T")
# Seconds before each attempt, as Standard Webhooks recommends.
HOUR = 3600
SCHEDULE = (0, 5, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
CLAIM_SECONDS = 4 * TIMEOUT_SECONDS
AT_ONCE_PER_ENDPOINT = 8
WORTH_A_CLAIM = AT_ONCE // 4
GIVE_UP_ON_ENDPOINT_AFTER = timedelta(days=5)
SLOWED_SECONDS = 60
_SLOW_DOWN = {429, 502, 504}

# Some of each endpoint's due rows, minus what is already open there. Working endpoints come first.
_CLAIM = """
WITH due AS (
    SELECT picked.id FROM billing_webhookendpoint endpoint
    LEFT JOIN unnest(%(endpoints)s::bigint[], %(open)s::int[]) AS busy (id, open) ON busy.id = endpoint.id
    CROSS JOIN LATERAL (
        SELECT id FROM billing_webhookdelivery delivery
        WHERE delivery.endpoint_id = endpoint.id AND status = 'pending' AND next_attempt_at <= %(now)s
        ORDER BY next_attempt_at
        LIMIT GREATEST(0, CASE WHEN endpoint.failing_since IS NULL THEN %(each)s ELSE 1 END - COALESCE(open, 0))
        FOR UPDATE SKIP LOCKED
    ) picked
    WHERE endpoint.enabled AND (endpoint.slow_until IS NULL OR endpoint.slow_until <= %(now)s)
    ORDER BY endpoint.failing_since NULLS FIRST
    LIMIT %(most)s
)
UPDATE billing_webhookdelivery SET next_attempt_at = %(until)s FROM due
WHERE billing_webhookdelivery.id = due.id RETURNING billing_webhookdelivery.*
"""
# The log entries and new states of all deliveries that ended, in one statement.
_WRITE_BACK = """
WITH ended AS (
    SELECT * FROM unnest(
        %s::bigint[], %s::text[], %s::int[], %s::timestamptz[], %s::timestamptz[], %s::int[], %s::text[],
        %s::timestamptz[], %s::int[], %s::text[], %s::text[]
    ) AS each (id, status, attempts, next_attempt_at, last_attempt_at, last_status, last_error, delivered_at,
               duration_ms, error, response)
), logged AS (
    INSERT INTO billing_webhookattempt
        (delivery_id, number, attempted_at, duration_ms, http_status, error, response)
    SELECT id, attempts, last_attempt_at, duration_ms, last_status, error, response FROM ended
)
UPDATE billing_webhookdelivery delivery
SET status = ended.status, attempts = ended.attempts, next_attempt_at = ended.next_attempt_at,
    last_attempt_at = ended.last_attempt_at, last_status = ended.last_status, last_error = ended.last_error,
    delivered_at = ended.delivered_at
FROM ended WHERE delivery.id = ended.id
"""


def deliver_due(*, seconds: float = 50) -> int:
    """Send what is due until nothing is, or `seconds` have passed. Returns the number of attempts."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # a tenth less CPU than asyncio's own
        return runner.run(_deliver(seconds))


async def _deliver(seconds: float) -> int:
    loop = asyncio.get_running_loop()
    until, done = loop.time() + seconds, 0
    open_attempts: dict[asyncio.Task[Ending], WebhookDelivery] = {}
    async with Connections() as connections:
        while True:
            room = AT_ONCE - len(open_attempts)
            if room >= WORTH_A_CLAIM and loop.time() < until:
                busy = Counter(delivery.endpoint_id for delivery in open_attempts.values())
                for delivery in await _in_thread(_claim, busy, room):
                    open_attempts[asyncio.create_task(attempt(delivery, connections))] = delivery
            if not open_attempts:
                return done
            # Wait a moment for others to end as well, to write them back together.
            await asyncio.wait(open_attempts, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0.02)
            ended = [(open_attempts.pop(task), task.result()) for task in list(open_attempts) if task.done()]
            if ended:
                await _in_thread(_write_back, ended)
            done += len(ended)


def _claim(busy: Counter[int], most: int) -> list[WebhookDelivery]:
    """Claim due rows, with their endpoints, for a minute. `busy`: how many requests each endpoint has open."""
    now = timezone.now()
    values = {"now": now, "until": now + timedelta(seconds=CLAIM_SECONDS), "most": most}
    values |= {"each": AT_ONCE_PER_ENDPOINT, "endpoints": list(busy), "open": list(busy.values())}
    with transaction.atomic():
        rows = list(WebhookDelivery.objects.raw(_CLAIM, values))
    endpoints = WebhookEndpoint.objects.in_bulk({row.endpoint_id for row in rows})
    for row in rows:
        row.endpoint = endpoints[row.endpoint_id]
    return rows


def _write_back(ended: Sequence[tuple[WebhookDelivery, Ending]]) -> None:
    now = timezone.now()
    rows = []
    for each, ending in sorted(ended, key=lambda pair: pair[0].pk):
        _apply(each, ending, now)
        rows.append(
            (
                *(each.pk, each.status, each.attempts, each.next_attempt_at, each.last_attempt_at),
                *(each.last_status, each.last_error, each.delivered_at),
                *(ending.duration_ms, ending.error, ending.response),
            )
        )
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_WRITE_BACK, [list(column) for column in zip(*rows, strict=True)])
        _note_on_endpoints(ended, now)


def _apply(delivery: WebhookDelivery, ending: Ending, now: datetime) -> None:
    """Update the delivery by how its attempt ended."""
    delivery.attempts += 1
    delivery.last_attempt_at, delivery.last_status = ending.began, ending.http_status
    delivery.last_error = ending.error or (
        "" if ending.delivered else f"responded with HTTP {ending.http_status}"
    )
    if ending.delivered:
        delivery.status, delivery.delivered_at, delivery.next_attempt_at = DeliveryStatus.DELIVERED, now, None
    elif delivery.attempts >= len(SCHEDULE):
        delivery.status, delivery.next_attempt_at = DeliveryStatus.FAILED, None
    else:
        # Up to a tenth later, so that deliveries that failed together are not retried together.
        wait = SCHEDULE[delivery.attempts] * random.uniform(1, 1.1)
        delivery.next_attempt_at = now + timedelta(seconds=max(wait, ending.retry_after or 0))


def _note_on_endpoints(ended: Sequence[tuple[WebhookDelivery, Ending]], now: datetime) -> None:
    """Record since when an endpoint fails and until when it is left alone; disable one that is gone.

    It uses the locked rows, not those read with the claim, since attempts that began together end apart.
    """
    works = {delivery.endpoint_id for delivery, ending in ended if ending.delivered}
    failed = [(each.endpoint, ending) for each, ending in ended if each.endpoint_id not in works]
    rows = WebhookEndpoint.objects
    # All at once and in the order of their ids, so that two workers do not deadlock.
    list(rows.filter(pk__in={each.endpoint_id for each, _ in ended}).order_by("pk").select_for_update())
    rows.filter(Q(failing_since__isnull=False) | Q(slow_until__isnull=False), pk__in=works).update(
        failing_since=None, slow_until=None
    )
    rows.filter(pk__in={each.pk for each, _ in failed}, failing_since=None).update(failing_since=now)
    for endpoint, ending in failed:
        if ending.http_status in _SLOW_DOWN:
            until = now + timedelta(seconds=ending.retry_after or SLOWED_SECONDS)
            rows.filter(pk=endpoint.pk).update(slow_until=until)
        if ending.http_status == 410:
            _disable(endpoint, "The receiver responded with 410 Gone.", now)
    given_up = rows.filter(
        pk__in={each.pk for each, _ in failed},
        failing_since__lt=now - GIVE_UP_ON_ENDPOINT_AFTER,
        enabled=True,
    )
    for endpoint in given_up.select_related("tenant"):
        _disable(endpoint, "No delivery succeeded for five days.", now)


def _disable(endpoint: WebhookEndpoint, reason: str, now: datetime) -> None:
    """Stop sending to the endpoint, and notify its owner's other endpoints and the operator. Pending events wait."""
    changed = WebhookEndpoint.objects.filter(pk=endpoint.pk, enabled=True).update(
        enabled=False, disabled_at=now, disabled_reason=reason
    )
    if not changed:
        return
    logger.warning("webhook endpoint %s disabled: %s", endpoint.pk, reason)
    data = {"endpoint": endpoint.pk, "url": endpoint.url, "reason": reason}
    publish(endpoint.tenant, EventType.ENDPOINT_DISABLED, data, key=f"{endpoint.pk}:{now.isoformat()}")


async def _in_thread(work: Callable[..., T], *args: Any) -> T:
    def run() -> T:
        close_old_connections()
        try:
            return work(*args)
        finally:
            close_old_connections()

    return await sync_to_async(run, thread_sensitive=False)()
