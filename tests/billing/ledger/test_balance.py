"""A prepaid balance: what moves it, and where tenant and staff see that."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.urls import reverse
from rest_framework.test import APIClient

from billing.events import UsageEvent
from billing.ledger.adjustments import book
from billing.ledger.balance import balance_of
from billing.ledger.posting import Entry, post
from billing.request_ids import new_request_id
from gateway_project.ground.money import NanoUSD
from tenants.people.operators import rotate_token
from tests.factories import (
    DailyUsageFactory,
    MembershipFactory,
    StaffFactory,
    TenantFactory,
    UsageRecordFactory,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant(redis_server):
    return TenantFactory(slug="acme", budget_mode="prepaid", timezone="UTC")


def booked(tenant, kind, usd, **values):
    return book(tenant=tenant, kind=kind, amount_usd=Decimal(usd), reason=kind.title(), **values)


def used(tenant, usd, *, days_ago=0):
    """A call, in ledger and roll-up."""
    row = UsageRecordFactory(
        tenant=tenant, at=datetime.now(UTC) - timedelta(days=days_ago), cost_usd=Decimal(usd), api_key=None
    )
    DailyUsageFactory(tenant=tenant, day=row.day, period_start=row.period_start, cost_usd=Decimal(usd))
    return row


def lines(tenant):
    return [(line.kind, line.amount_usd, line.balance_usd) for line in balance_of(tenant).movements]


def test_movements_are_bookings_and_days_of_usage_with_what_was_left(tenant):
    booked(tenant, "topup", 50, reference="INV-1")
    used(tenant, 8)
    booked(tenant, "credit", 5)
    booked(tenant, "correction", 2)
    tenant.refresh_from_db()

    assert lines(tenant) == [
        ("usage", -8, 45),
        ("correction", -2, 53),
        ("credit", 5, 55),
        ("topup", 50, 50),
    ]
    balance = balance_of(tenant)
    assert [balance.left_usd, balance.after_top_up_usd, balance.left_percent] == [45, 50, 90]


def test_what_was_used_before_the_first_top_up_is_in_no_movement(tenant):
    used(tenant, 7, days_ago=3)
    used(tenant, 1)
    booked(tenant, "topup", 20, reference="INV-1")
    tenant.refresh_from_db()

    assert lines(tenant) == [("topup", 20, 20)]
    assert balance_of(tenant).left_usd == 20


def test_credits_and_corrections_move_what_may_be_spent(tenant):
    booked(tenant, "credit", 9)  # before the first top-up: of a bill
    booked(tenant, "topup", 20, reference="INV-1")
    booked(tenant, "correction", -3)
    tenant.refresh_from_db()
    assert tenant.spendable_usd == 23


def test_a_credit_leaves_a_monthly_budget_alone(redis_server):
    monthly = TenantFactory(monthly_budget_usd=Decimal(10))
    booked(monthly, "credit", 5)
    monthly.refresh_from_db()
    assert monthly.spendable_usd == 10


def test_only_a_top_up_lets_alerts_count_anew(tenant):
    booked(tenant, "topup", 20, reference="INV-1")
    used(tenant, 15)
    booked(tenant, "credit", 5)
    tenant.refresh_from_db()
    assert tenant.topped_up_to_usd == 20


def test_a_late_settlement_gives_back_what_was_reserved_too_much(tenant):
    booked(tenant, "topup", 20, reference="INV-1")
    request_id = new_request_id()
    event = UsageEvent(
        request_id=request_id,
        tenant_id=tenant.pk,
        key_id=None,
        day="2026-11-25",
        period_start="2026-11-01",
        wire="anthropic",
        model="m",
        cost_nano=NanoUSD(4_000_000_000),
    )
    post([Entry(id="1-0", event=event)], shard=0)
    late = UsageEvent(
        **{name: getattr(event, name) for name in event.__struct_fields__} | {"cost_nano": 10**9}
    )

    post([Entry(id="2-0", event=late, late=True)], shard=0)
    post([Entry(id="2-0", event=late, late=True)], shard=0)

    tenant.refresh_from_db()
    assert tenant.spendable_usd == 23
    assert balance_of(tenant).left_usd == 19


@pytest.fixture
def moved(tenant):
    booked(tenant, "topup", 50, reference="INV-1")
    used(tenant, 8)
    return tenant


def test_the_api_has_balance_and_movements(moved):
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(StaffFactory())}")

    shown = api.get("/api/tenants/acme/balance/").json()

    assert Decimal(shown["left_usd"]) == 42
    assert [(line["kind"], line["reference"]) for line in shown["movements"]] == [
        ("usage", ""),
        ("topup", "INV-1"),
    ]
    TenantFactory(slug="monthly")
    assert api.get("/api/tenants/monthly/balance").status_code == 404


def test_staff_see_balance_and_movements(moved, client):
    client.force_login(StaffFactory())
    page = client.get(reverse("admin:billing_prepaidbalance_change", args=[moved.pk])).content.decode()
    assert "Balance: $42.00" in page
    assert "INV-1" in page
    assert "$42.00" in client.get(reverse("admin:billing_prepaidbalance_changelist")).content.decode()


def test_members_see_balance_and_movements(moved, client):
    client.force_login(MembershipFactory(tenant=moved).user)
    page = client.get(reverse("portal:balance", args=["acme"])).content.decode()
    assert "$42.00" in page
    assert "INV-1" in page
    assert (
        reverse("portal:balance", args=["acme"])
        in client.get(reverse("portal:overview", args=["acme"])).content.decode()
    )
