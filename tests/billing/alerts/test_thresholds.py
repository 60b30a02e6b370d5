"""Thresholds: each crossing told once and in order, whatever dies, and armed anew by a raise."""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from billing.alerts.thresholds import catch_up
from billing.ledger import drain
from billing.ledger.adjustments import book, end_grants
from billing.ledger.drain import Drain, drain_all
from billing.ledger.posting import post, read_entry
from billing.meter.lease import PricedCandidate, RequestMetadata
from billing.meter.settlement import CallOutcome
from billing.models import AlertScope, BudgetAlert, UsageRecord, WebhookDelivery
from billing.request_ids import new_request_id
from billing.tasks import watch_limits
from billing.usage import Usage
from gateway_project.ground.money import NanoUSD, to_nano
from gateway_project.ground.redis_keys import every_tag, tenant_key
from routing.choice import REQUESTED, Candidate, CatalogueModel
from tenants.policy import KeyPolicy, Principal
from tenants.snapshots import policy_of, read_version
from tests.factories import ApiKeyFactory, TenantFactory, WebhookEndpointFactory
from tests.meters import meter

pytestmark = pytest.mark.django_db(transaction=True)
MODEL = CatalogueModel(1, "sonnet", "sonnet", "claude", 200_000, 8192, None, None, True)


@pytest.fixture
def tenant(redis_server):
    for tag in every_tag():
        redis_server.hset(f"{tag}:shard", mapping={"epoch": "e", "opens_ms": 0})
    tenant = TenantFactory(slug="acme", monthly_budget_usd=Decimal(100))
    WebhookEndpointFactory(tenant=tenant)
    return tenant


def spend(tenant, usd, *, flush=None):
    """One call of `usd`, admitted and settled. `flush` runs in between."""
    tenant.refresh_from_db()
    key = ApiKeyFactory(tenant=tenant)
    policy = policy_of(tenant, version=read_version(tenant.pk))
    principal = Principal(policy, KeyPolicy(key.pk, "main", "tn_x", None, None, None, None))

    async def call():
        admission = await meter().admit(
            principal,
            [PricedCandidate(Candidate(MODEL, REQUESTED, None), None, NanoUSD(0), NanoUSD(0), 100)],
            request_id=new_request_id(),
            metadata=RequestMetadata("anthropic", "sonnet", False),
        )
        if flush:
            flush()
        nano = to_nano(Decimal(usd))
        outcome = CallOutcome(usage=Usage(output_tokens=1), cost_nano=nano, upstream_cost_nano=nano)
        await meter().settle(admission.lease, outcome)
        await meter().pipe.close()
        return admission.lease.request_id

    return async_to_sync(call)()


def told():
    """Percentages and event types, in the order in which they go out."""
    rows = WebhookDelivery.objects.order_by("pk")
    return [(row.payload["data"]["threshold_percent"], row.payload["type"]) for row in rows]


def percents():
    return list(BudgetAlert.objects.order_by("pk").values_list("threshold", flat=True))


def raise_to(tenant, usd):
    tenant.monthly_budget_usd = Decimal(usd)
    tenant.save()


def test_a_jump_over_several_thresholds_fires_each_in_order(tenant):
    request_id = spend(tenant, 120)
    drain_all()

    assert told() == [
        (80, "budget.threshold_reached"),
        (90, "budget.threshold_reached"),
        (100, "budget.exceeded"),
    ]
    alerts = BudgetAlert.objects.order_by("pk")
    assert [(str(each.request_id), each.spent_usd) for each in alerts] == [(request_id, Decimal(120))] * 3
    assert catch_up() == 0


def test_the_crossing_can_be_replayed_from_the_call_it_came_from(tenant):
    spend(tenant, 70)
    spend(tenant, 15)
    drain_all()

    alert = BudgetAlert.objects.get()
    row = UsageRecord.objects.get(request_id=str(alert.request_id))
    assert alert.spent_usd - row.cost_usd < Decimal("0.8") * alert.budget_usd <= alert.spent_usd
    assert alert.crossed_at == row.created_at


def test_thresholds_are_the_tenants_own(tenant):
    tenant.alert_percents = [95, 50]
    tenant.save()
    spend(tenant, 85)
    spend(tenant, 11)
    drain_all()
    assert percents() == [50, 95]


def test_a_process_killed_between_commit_and_acknowledgement_leaves_one_alert(tenant, monkeypatch):
    spend(tenant, 85)
    for tag in every_tag():  # read and committed, never acknowledged
        consumer = Drain()
        if entries := consumer._read(f"{tag}:usage", ">"):
            post([read_entry(*entry) for entry in entries], shard=0)
    monkeypatch.setattr(drain, "CLAIM_AFTER_MS", 0)
    time.sleep(0.01)

    assert drain_all() == 1
    assert percents() == [80]
    assert len(told()) == 1


def test_a_process_killed_before_its_commit_leaves_the_alert_to_the_next(tenant, monkeypatch):
    spend(tenant, 85)
    for tag in every_tag():
        consumer = Drain()
        if entries := consumer._read(f"{tag}:usage", ">"):
            with transaction.atomic():
                post([read_entry(*entry) for entry in entries], shard=0)
                transaction.set_rollback(True)
    assert not BudgetAlert.objects.exists()
    monkeypatch.setattr(drain, "CLAIM_AFTER_MS", 0)
    time.sleep(0.01)

    drain_all()
    assert percents() == [80]
    assert len(told()) == 1


def test_a_crossing_whose_counter_redis_lost_is_caught_up_with_once(tenant, redis_server):
    spend(tenant, 70)
    place = f"{tenant_key(tenant.pk)}:b:*"
    spend(tenant, 15, flush=lambda: redis_server.delete(*redis_server.keys(place)))
    drain_all()
    assert percents() == []

    assert (catch_up(), catch_up()) == (1, 0)
    assert told() == [(80, "budget.threshold_reached")]


def test_a_raised_budget_arms_again_what_it_raised_above_the_spend(tenant):
    spend(tenant, 95)
    drain_all()
    raise_to(tenant, 200)
    catch_up()
    spend(tenant, 70)
    drain_all()

    alerts = BudgetAlert.objects.order_by("pk").values_list("threshold", "budget_usd")
    assert list(alerts) == [(80, Decimal(100)), (90, Decimal(100)), (80, Decimal(200))]
    assert catch_up() == 0


def test_a_budget_raised_by_a_little_does_not_tell_twice(tenant):
    spend(tenant, 95)
    drain_all()
    raise_to(tenant, 101)
    assert catch_up() == 0
    spend(tenant, 7)
    drain_all()
    assert percents() == [80, 90, 100]


def test_a_crossing_is_of_the_budget_in_force_when_the_call_was_admitted(tenant):
    spend(tenant, 85)
    raise_to(tenant, 200)
    drain_all()
    assert BudgetAlert.objects.get().budget_usd == 100


def test_a_lowered_budget_tells_what_it_was_lowered_below(tenant):
    raise_to(tenant, 200)
    spend(tenant, 95)
    drain_all()
    raise_to(tenant, 100)

    assert watch_limits() == 2
    assert [percent for percent, _ in told()] == [80, 90]


def test_a_grant_that_ends_tells_what_it_had_covered(tenant):
    ends = datetime.now(UTC) + timedelta(hours=1)
    book(tenant=tenant, kind="grant", amount_usd=Decimal(100), reason="launch", expires_at=ends)
    spend(tenant, 110)
    drain_all()
    assert catch_up() == 0
    end_grants(now=ends + timedelta(minutes=1))

    assert catch_up() == 3
    assert told()[-1] == (100, "budget.exceeded")


def test_a_prepaid_balance_tells_at_a_fifth_a_tenth_and_nothing_left(redis_server, tenant):
    tenant.budget_mode = "prepaid"
    tenant.save()
    book(tenant=tenant, kind="topup", amount_usd=Decimal(50), reason="invoice", reference="1")
    for usd in (39, 2, 5, 4):
        spend(tenant, usd)
    drain_all()

    data = [row.payload["data"] for row in WebhookDelivery.objects.order_by("pk")]
    assert [each["left_percent"] for each in data] == [20, 10, 0]
    assert [Decimal(each["balance_usd"]) for each in data] == [9, 4, 0]
    assert set(BudgetAlert.objects.values_list("scope", flat=True)) == {AlertScope.PREPAID}
    assert catch_up() == 0

    book(tenant=tenant, kind="topup", amount_usd=Decimal(10), reason="invoice", reference="2")
    spend(tenant, "8.5")
    drain_all()
    assert percents() == [80, 90, 100, 80]
    last = WebhookDelivery.objects.latest("pk").payload["data"]
    assert Decimal(last["balance_usd"]) == Decimal("1.5")
    assert Decimal(last["balance_after_top_up_usd"]) == 10
    assert catch_up() == 0
