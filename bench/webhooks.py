"""Webhooks delivered by a complete installation: many at once, to endpoints of which some never answer."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from bench.servers import HOME, gateway, mock_upstream
from bench.table import Table

ENDPOINTS = 100
DELIVERIES = 10_000
_FILL = """
from django.utils import timezone
from billing.models import WebhookDelivery, WebhookEndpoint
from billing.webhooks.publish import wake
from billing.webhooks.signing import give_secret
WebhookEndpoint.objects.all().delete()
endpoints = [WebhookEndpoint(url=f"http://127.0.0.1:{{port}}/hooks") for port in {ports}]
for endpoint in endpoints:
    give_secret(endpoint)
WebhookEndpoint.objects.bulk_create(endpoints)
data = {{"tenant": "acme", "threshold_percent": 80, "budget_usd": "500", "spend_usd": "400.1"}}
payload = {{"type": "budget.threshold_reached", "timestamp": timezone.now().isoformat(), "data": data}}
now = timezone.now()
WebhookDelivery.objects.bulk_create(
    WebhookDelivery(
        endpoint=endpoints[n % len(endpoints)], event_id=f"msg_{{n}}", event_type=payload["type"],
        payload=payload, next_attempt_at=now,
    )
    for n in range({deliveries})
)
wake()
"""
# Deliveries are due when they are created, so the delay covers all: claiming, sending, the answer, writing it back.
_LOOK = """
import json
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute('''
        SELECT count(*) FILTER (WHERE status = 'delivered'),
               percentile_cont(ARRAY[.5, .99, 1]) WITHIN GROUP (ORDER BY extract(epoch FROM delivered_at - created_at))
        FROM billing_webhookdelivery''')
    delivered, delays = cursor.fetchone()
print(json.dumps([delivered, delays]))
"""


def beside_endpoints_that_hang(seconds: float) -> list[Table]:
    rows: list[list[object]] = []
    for hanging in (0, 10):
        with _receivers(hanging) as ports, mock_upstream() as mock:
            os.environ["WEBHOOK_ALLOW_HOSTS"] = ",".join(f"127.0.0.1:{port}" for port in ports)
            with gateway(mock) as ours:
                ours.ask(_FILL.format(ports=ports, deliveries=DELIVERIES))
                healthy = DELIVERIES * (ENDPOINTS - hanging) // ENDPOINTS
                delivered, delays = _until(ours, healthy)
                rows.append([hanging, DELIVERIES, healthy, delivered, *delays])
    header = ["endpoints that hang", "deliveries", "to others", "delivered", "p50 s", "p99 s", "longest s"]
    return [Table(f"Webhooks to {ENDPOINTS} endpoints, all due at once", header, rows)]


def _until(ours: Any, healthy: int) -> tuple[int, list[float]]:
    deadline = time.monotonic() + 120
    while True:
        delivered, delays = json.loads(ours.ask(_LOOK))
        if delivered >= healthy or time.monotonic() > deadline:
            return delivered, delays
        time.sleep(2)


@contextlib.contextmanager
def _receivers(hanging: int) -> Iterator[list[int]]:
    command = [sys.executable, "-m", "bench.receivers", str(ENDPOINTS), str(hanging)]
    process = subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield [int(port) for port in process.stdout.readline().split()]
    finally:
        process.terminate()
        process.wait(10)
