"""Drift is found and kept for staff to see."""

import pytest

from billing.models import DriftReport
from billing.tasks import hold_the_books_together, keep_partitions_ahead
from tests.factories import DailyUsageFactory, TenantFactory

pytestmark = pytest.mark.django_db(transaction=True)


def test_books_that_agree_leave_no_report(redis_server):
    TenantFactory()

    assert hold_the_books_together() == 0
    assert not DriftReport.objects.exists()


def test_a_roll_up_that_differs_from_the_ledger_is_reported(redis_server):
    from billing.spend import counter_of

    tenant = TenantFactory()
    DailyUsageFactory(tenant=tenant, period_start=counter_of(tenant)[1], cost_usd=5)

    assert hold_the_books_together() == 1
    assert DriftReport.objects.get().drift_usd == 5


def test_partitions_are_made_once():
    keep_partitions_ahead()

    assert keep_partitions_ahead() == 0
