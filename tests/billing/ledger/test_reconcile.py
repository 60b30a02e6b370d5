"""Drift is reported, and repaired where the ledger says how."""

import pytest

from billing.models import DriftReport, WebhookDelivery
from billing.tasks import hold_the_books_together
from gateway_project.ground.redis_keys import tenant_key
from tests.billing.ledger.test_books import spent
from tests.factories import DailyUsageFactory, TenantFactory, UsageRecordFactory, WebhookEndpointFactory

pytestmark = pytest.mark.django_db(transaction=True)


def test_books_that_agree_leave_no_report(redis_server):
    TenantFactory()

    assert hold_the_books_together() == 0
    assert not DriftReport.objects.exists()


def test_a_roll_up_that_differs_from_the_ledger_is_reported(redis_server):
    from billing.meter.current_spend import counter_of

    tenant = TenantFactory()
    DailyUsageFactory(tenant=tenant, period_start=counter_of(tenant)[1], cost_usd=5)

    assert hold_the_books_together() == 1
    assert DriftReport.objects.get().drift_usd == 5


def test_a_counter_that_differs_is_told_and_dropped_so_that_the_next_call_rebuilds_it(redis_server):
    tenant = TenantFactory()
    WebhookEndpointFactory(tenant=None)
    UsageRecordFactory(tenant=tenant, cost_usd=2)
    DailyUsageFactory(tenant=tenant, cost_usd=2)
    spent(tenant, 1, redis_server)

    assert hold_the_books_together() == 1

    assert not redis_server.keys(f"{tenant_key(tenant.pk)}:b:*")
    assert DriftReport.objects.get().details == {"repaired": True}
    assert WebhookDelivery.objects.get().event_type == "books.drift"
    assert hold_the_books_together() == 0


def test_a_counter_is_left_alone_where_ledger_and_roll_up_differ_too(redis_server):
    tenant = TenantFactory()
    UsageRecordFactory(tenant=tenant, cost_usd=2)
    spent(tenant, 1, redis_server)

    assert hold_the_books_together() == 1

    assert redis_server.keys(f"{tenant_key(tenant.pk)}:b:*")
    assert DriftReport.objects.get().details == {"repaired": False}
