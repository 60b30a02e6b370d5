"""Every periodic round goes over all tenants: what fails for one is done for the others, and the task fails."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.alerts import notices, thresholds
from billing.ledger import adjustments, reconcile
from billing.ledger.adjustments import book
from billing.meter.current_spend import counter_of
from billing.models import BudgetAlert, DriftReport
from gateway_project.ground.one_by_one import SomeFailed
from gateway_project.metrics import _books
from tenants.models import Tenant
from tests.factories import ApiKeyFactory, DailyUsageFactory, TenantFactory, WebhookEndpointFactory

pytestmark = pytest.mark.django_db(transaction=True)


def now():
    return datetime.now(UTC)


@pytest.fixture
def tenants(redis_server):
    """Three with the same reason to be told of something."""
    made = [
        TenantFactory(monthly_budget_usd=Decimal(10), max_tokens_per_day=10, timezone="UTC") for _ in range(3)
    ]
    for tenant in made:
        WebhookEndpointFactory(tenant=tenant)
        DailyUsageFactory(
            tenant=tenant,
            day=now().date(),
            period_start=counter_of(tenant)[1],
            cost_usd=Decimal("8.5"),
            input_tokens=50,
        )
    return made


@pytest.fixture
def broken(tenants):
    """The one in the middle: others come before and after it."""
    return sorted(tenants, key=lambda each: each.pk)[1]


@pytest.fixture
def publish_fails(monkeypatch, broken):
    """For that one."""
    for module in (thresholds, notices, reconcile):

        def publish(tenant, *args, really=module.publish, **named):
            if tenant == broken:
                raise TypeError("not serializable")
            return really(tenant, *args, **named)

        monkeypatch.setattr(module, "publish", publish)


def test_thresholds_of_the_others_are_told(tenants, broken, publish_fails):
    with pytest.raises(SomeFailed, match=broken.slug):
        thresholds.catch_up()

    assert BudgetAlert.objects.values("tenant").distinct().count() == 2


def test_daily_limits_of_the_others_are_told(tenants, broken, publish_fails):
    with pytest.raises(SomeFailed, match=broken.slug):
        notices.notice_limits()

    assert BudgetAlert.objects.count() == 2


def test_forecasts_of_the_others_are_told(tenants, broken, publish_fails, monkeypatch):
    monkeypatch.setattr(notices, "FORECAST_FROM", Decimal(0))
    DailyUsageFactory._meta.model.objects.update(cost_usd=Decimal("9.999"))

    with pytest.raises(SomeFailed, match=broken.slug):
        notices.notice_usage(_half_way())

    assert BudgetAlert.objects.count() == 2


def _half_way():
    """A moment of this month at which 9.999 of 10 USD will not last."""
    return now().replace(day=15, hour=0, minute=0)


def test_keys_of_the_others_are_announced(tenants, broken, publish_fails, caplog):
    for tenant in tenants:
        ApiKeyFactory(tenant=tenant)

    with pytest.raises(SomeFailed, match="1 of 3"):
        notices.announce_keys()


def test_drift_of_the_others_is_reported(tenants, broken, publish_fails):
    with pytest.raises(SomeFailed, match=broken.slug):
        reconcile.reconcile()

    assert DriftReport.objects.count() == 2


def test_grants_of_the_others_end(tenants, broken, monkeypatch):
    ends = now() + timedelta(hours=1)
    for tenant in tenants:
        book(tenant=tenant, kind="grant", amount_usd=Decimal(5), reason="launch", expires_at=ends)
    keep = adjustments.keep_figures

    def fails_for_one(tenant, **named):
        if tenant == broken:
            raise ValueError("broken")
        return keep(tenant, **named)

    monkeypatch.setattr(adjustments, "keep_figures", fails_for_one)

    with pytest.raises(SomeFailed, match=broken.slug):
        adjustments.end_grants(now=ends + timedelta(minutes=1))

    assert list(Tenant.objects.filter(granted_usd__gt=0)) == [broken]


def values_of(families, name):
    [family] = [each for each in families if each.name == name]
    return [(sample.labels, sample.value) for sample in family.samples]


def test_periods_that_stay_open_are_a_metric(redis_server):
    tenant = TenantFactory(timezone="UTC")
    Tenant.objects.filter(pk=tenant.pk).update(created_at=now() - timedelta(days=70))

    [(_, overdue)] = values_of(_books(), "tenantry_periods_overdue")

    assert overdue >= 2
