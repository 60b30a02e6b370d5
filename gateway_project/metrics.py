"""`/metrics`: what every process has counted, and the current state of the stores."""

import hmac
import math
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from gateway_project.ground.breaker_board import breaker_states
from gateway_project.ground.presence import silence
from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import busy_key, every_shard, leases_key, poison_stream, usage_stream
from gateway_project.ground.task_board import failing_tasks

_LOOPBACK = {"127.0.0.1", "::1", ""}
# Each of these means that a local proxy forwards a request from elsewhere.
_PASSED_ON = {b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via"}


def may_scrape(scope: dict[str, Any]) -> bool:
    """Whether a request may read metrics: with METRICS_TOKEN, if it has that bearer token; else only locally."""
    headers = dict(scope["headers"])
    if settings.METRICS_TOKEN:
        given: bytes = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        return hmac.compare_digest(given, settings.METRICS_TOKEN.encode())
    client = scope.get("client")
    return (client[0] if client else "") in _LOOPBACK and _PASSED_ON.isdisjoint(headers)


def scrape() -> tuple[bytes, str]:
    """The metrics in Prometheus' format, and their content type."""
    registry: Any = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    now = CollectorRegistry()
    now.register(_Stores())
    return generate_latest(registry) + generate_latest(now), CONTENT_TYPE_LATEST


class _Stores:
    """Gauges that are read at each scrape. `tenantry_up` says whether a store is away."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("tenantry_up", "Whether a store responds.", labels=["store"])
        for name, read in (("redis", _meter), ("postgresql", _books)):
            try:
                yield from read()
            except (*STORE_ERRORS, DatabaseError):
                up.add_metric([name], 0)
            else:
                up.add_metric([name], 1)
        yield up


def _meter() -> list[GaugeMetricFamily]:
    waiting = poison = open_calls = 0
    oldest: float | None = None
    for shard in every_shard():
        stream = usage_stream(shard)
        waiting += store().xlen(stream)
        poison += store().xlen(poison_stream(shard))
        for entry_id, _ in store().xrange(stream, count=1):
            at = int(entry_id.split(b"-")[0]) / 1000
            oldest = at if oldest is None else min(oldest, at)
        with store().pipeline(transaction=False) as pipeline:
            for tenant_id in store().smembers(busy_key(shard)):
                pipeline.hlen(leases_key(int(tenant_id)))
            open_calls += sum(pipeline.execute())
    breakers = breaker_states()
    last_seen = GaugeMetricFamily(
        "tenantry_process_last_seen_seconds",
        "Seconds since a process of this kind last reported that it is running.",
        labels=["process"],
    )
    for kind, seconds in silence().items():
        last_seen.add_metric([kind], min(seconds, default=math.inf))
    failing = GaugeMetricFamily(
        "tenantry_failing_tasks", "Periodic tasks whose last run failed.", labels=["task"]
    )
    for task in failing_tasks():
        failing.add_metric([task], 1)
    return [
        last_seen,
        failing,
        GaugeMetricFamily("tenantry_open_calls", "Open leases (calls not settled yet).", value=open_calls),
        GaugeMetricFamily("tenantry_undrained_events", "Settled calls not in the ledger yet.", value=waiting),
        GaugeMetricFamily(
            "tenantry_drain_lag_seconds", "Age of the oldest settled call not in the ledger yet.",
            value=max(0.0, time.time() - oldest) if oldest is not None else 0.0,
        ),
        GaugeMetricFamily("tenantry_poison_events", "Usage events set aside as unreadable.", value=poison),
        GaugeMetricFamily("tenantry_open_breakers", "Circuit breakers that are not closed.", value=len(breakers)),
    ]  # fmt: skip


def _books() -> list[GaugeMetricFamily]:
    from django.db.models import Count, Sum

    from billing.models import DailyTotal, DriftReport, WebhookDelivery, WebhookEndpoint
    from billing.statements.closing import periods_overdue
    from billing.unreadable_secrets import unreadable_secrets

    drift = DriftReport.objects.filter(ok=False, checked_at__gte=timezone.now() - timedelta(days=1)).count()
    deliveries = GaugeMetricFamily(
        "tenantry_webhook_deliveries", "Webhook deliveries by state.", labels=["status"]
    )
    for row in WebhookDelivery.objects.values("status").order_by().annotate(count=Count("pk")):
        deliveries.add_metric([row["status"]], row["count"])
    failing = WebhookEndpoint.objects.filter(failing_since__isnull=False, enabled=True).count()
    orphans = DailyTotal.objects.filter(day=timezone.now().date(), status="orphaned")
    orphaned = orphans.aggregate(total=Sum("requests"))["total"] or 0
    return [
        GaugeMetricFamily("tenantry_drift_reports_24h", "Tenants whose books differ.", value=drift),
        GaugeMetricFamily("tenantry_failing_webhooks", "Failing webhook endpoints.", value=failing),
        GaugeMetricFamily(
            "tenantry_periods_overdue", "Periods that ended over an hour ago, not closed.", value=periods_overdue()
        ),
        GaugeMetricFamily("tenantry_orphaned_calls_today", "Calls the reaper settled today.", value=orphaned),
        GaugeMetricFamily(
            "tenantry_unreadable_secrets", "Secrets that none of SECRETS_KEYS decrypts.",
            value=len(unreadable_secrets()),
        ),
        deliveries,
    ]  # fmt: skip
