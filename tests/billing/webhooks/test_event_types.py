"""Every event, from what causes it to a receiver that checks its signature with the public libraries."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from standardwebhooks.webhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

from billing.alerts.notices import announce_keys, notice_usage
from billing.events import UsageEvent
from billing.ledger.posting import Entry, post
from billing.ledger.reconcile import reconcile
from billing.models import DailyUsage
from billing.request_ids import new_request_id
from billing.statements.closing import close_due
from billing.webhooks.deliver import deliver_due
from gateway_project.ground.money import NanoUSD
from gateway_project.ground.secrets import decrypt
from tenants.keys import issue_key, revoke_key
from tenants.models import Tenant
from tests.factories import DailyUsageFactory, UsageRecordFactory

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)


def cross_a_threshold(tenant, percent=80):
    event = UsageEvent(
        new_request_id(),
        tenant.pk,
        None,
        "2026-06-10",
        "2026-06-01",
        "anthropic",
        "gpt-4o",
        budget_nano=NanoUSD(10**11),
    )
    post([Entry(id="1-1", event=event, crossed=(percent,), spent_nano=percent * 10**9)], shard=0)


def exceed(tenant):
    cross_a_threshold(tenant, 100)


def close_a_month(tenant):
    Tenant.objects.filter(pk=tenant.pk).update(created_at=datetime(2026, 5, 3, tzinfo=UTC))
    close_due(datetime(2026, 6, 1, 1, tzinfo=UTC))


def spend_at_a_pace_that_ends_early(tenant):
    for days in range(1, 10):
        DailyUsageFactory(tenant=tenant, day=NOW.date() - timedelta(days=days), cost_usd=Decimal(8))
    notice_usage(NOW)


def spend_far_more_than_ever(tenant):
    for days in range(1, 6):
        at = NOW - timedelta(days=days)
        UsageRecordFactory(tenant=tenant, at=at, cost_usd=Decimal(1))
        DailyUsageFactory(tenant=tenant, day=at.date(), cost_usd=Decimal(1))
    UsageRecordFactory(tenant=tenant, at=NOW - timedelta(minutes=5), cost_usd=Decimal(20))
    notice_usage(NOW)


def make_a_key(tenant):
    issue_key(tenant=tenant, name="app")
    announce_keys()


def revoke_a_key(tenant):
    revoke_key(api_key=issue_key(tenant=tenant, name="app").api_key)
    announce_keys()


EVENTS = {
    "budget.threshold_reached": (cross_a_threshold, {"threshold_percent", "budget_usd", "spend_usd"}),
    "budget.exceeded": (exceed, {"threshold_percent", "budget_usd", "spend_usd"}),
    "budget.reset": (close_a_month, {"period_start", "budget_usd"}),
    "budget.forecast": (spend_at_a_pace_that_ends_early, {"budget_ends_on", "forecast_usd"}),
    "usage.anomaly": (spend_far_more_than_ever, {"spend_usd", "rule"}),
    "key.created": (make_a_key, {"key", "name", "prefix"}),
    "key.revoked": (revoke_a_key, {"key", "name", "prefix"}),
    "statement.closed": (close_a_month, {"statement", "usage_usd", "total_usd", "period_end"}),
}


@pytest.mark.parametrize(("event_type", "caused", "told"), [(name, *each) for name, each in EVENTS.items()])
def test_what_happens_is_told_signed(event_type, caused, told, receiver, endpoint, redis_server):
    tenant = endpoint.tenant
    tenant.monthly_budget_usd = Decimal(100)
    tenant.save()

    caused(Tenant.objects.select_related("tier").get(pk=tenant.pk))
    deliver_due()

    [(headers, body)] = [each for each in receiver.came if json.loads(each[1])["type"] == event_type]
    payload = json.loads(body)
    Webhook(decrypt(endpoint.secret)).verify(body, headers)
    SvixWebhook(decrypt(endpoint.secret)).verify(body, headers)
    assert set(payload) == {"type", "timestamp", "data"}
    assert told <= set(payload["data"])
    assert payload["data"]["tenant"] == tenant.slug
    assert len(body) < 20_000


def test_books_that_differ_are_told_to_the_operator_alone_once_a_day(receiver, endpoint, redis_server):
    endpoint.tenant = None
    endpoint.save()
    UsageRecordFactory(cost_usd=Decimal(3))
    assert not DailyUsage.objects.exists()

    for _ in range(2):
        reconcile()
    deliver_due()

    [(_, body)] = receiver.came
    assert json.loads(body)["type"] == "books.drift"
    assert json.loads(body)["data"]["drift_usd"] == "3.000000000"
