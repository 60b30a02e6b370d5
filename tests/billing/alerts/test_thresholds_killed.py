"""Ledger processes killed by SIGKILL in the middle of their work: each crossing is told once all the same."""

import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection

from billing.events import UsageEvent, encode
from billing.ledger import drain
from billing.ledger.drain import drain_all
from billing.models import BudgetAlert, UsageRecord, WebhookDelivery
from billing.request_ids import new_request_id
from gateway_project.ground.money import NanoUSD
from gateway_project.ground.redis_keys import every_tag, shard_of, tag
from tests.factories import TenantFactory, WebhookEndpointFactory

pytestmark = pytest.mark.django_db(transaction=True)
TENANTS, CALLS, DOLLAR = 30, 100, 1_000_000_000
CROSSINGS = {80: "80", 90: "90", 100: "100"}  # by the number of the call


def fill_the_streams(redis_server, tenants):
    """Calls of a dollar each, against budgets of a hundred, as `settle.lua` writes them down."""
    with redis_server.pipeline() as pipeline:
        for number in range(1, CALLS + 1):
            for tenant in tenants:
                event = UsageEvent(
                    request_id=new_request_id(),
                    tenant_id=tenant.pk,
                    key_id=None,
                    day="2026-11-20",
                    period_start="2026-11-01",
                    wire="anthropic",
                    model="sonnet",
                    cost_nano=NanoUSD(DOLLAR),
                    budget_nano=NanoUSD(100 * DOLLAR),
                )
                fields = {"e": encode(event), "crossed": CROSSINGS.get(number, ""), "spent": number * DOLLAR}
                pipeline.xadd(f"{tag(shard_of(tenant.pk))}:usage", fields)
        pipeline.execute()


def ledger_process():
    parts = urlsplit(os.environ["DATABASE_URL"])
    url = urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}"))
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "manage.py", "ledger"],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "DATABASE_URL": url},
        stderr=subprocess.DEVNULL,
    )


def waiting(redis_server):
    return sum(redis_server.xlen(f"{mark}:usage") for mark in every_tag())


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the ledger process did nothing"
        time.sleep(0.002)


def test_each_crossing_is_told_once_whatever_is_killed(redis_server, monkeypatch):
    tenants = [TenantFactory() for _ in range(TENANTS)]
    WebhookEndpointFactory(tenant=None)
    fill_the_streams(redis_server, tenants)

    # One dies once its first batch is committed, before or after it is acknowledged; one in the middle of the rest.
    for seen in (UsageRecord.objects.exists, lambda: waiting(redis_server) < TENANTS * CALLS // 2):
        process = ledger_process()
        wait_until(seen)
        process.kill()
        process.wait()
    monkeypatch.setattr(drain, "CLAIM_AFTER_MS", 0)
    time.sleep(0.01)
    while waiting(redis_server):
        drain_all()

    assert UsageRecord.objects.count() == TENANTS * CALLS
    assert BudgetAlert.objects.count() == WebhookDelivery.objects.count() == TENANTS * 3
    for tenant in tenants:
        told = WebhookDelivery.objects.filter(payload__data__tenant=tenant.slug).order_by("pk")
        assert [each.payload["data"]["threshold_percent"] for each in told] == [80, 90, 100]
