"""Grants raise a budget until they end; top-ups raise a balance that does not reset."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.ledger.adjustments import AlreadyBooked, book, end_grants
from gateway_project.ground.money import to_nano
from gateway_project.ground.redis_keys import tenant_key
from tenants.snapshots import policy_of, read_version
from tests.factories import DailyUsageFactory, TenantFactory

pytestmark = pytest.mark.django_db
SOON = timedelta(hours=1)


@pytest.fixture
def tenant(redis_server):
    return TenantFactory(monthly_budget_usd=Decimal(10))


@pytest.fixture
def prepaid(redis_server):
    return TenantFactory(budget_mode="prepaid")


def budget_in_force(tenant):
    tenant.refresh_from_db()
    return policy_of(tenant, version=read_version(tenant.pk)).monthly_budget_nano


def grant(tenant, usd, **values):
    ends = datetime.now(UTC) + SOON
    return book(
        tenant=tenant,
        kind="grant",
        amount_usd=Decimal(usd),
        reason="launch",
        **{"expires_at": ends, **values},
    )


def top_up(tenant, usd, reference):
    return book(tenant=tenant, kind="topup", amount_usd=Decimal(usd), reason="invoice", reference=reference)


def test_a_grant_counts_from_the_next_request_until_its_end(tenant):
    grant(tenant, 5)
    assert budget_in_force(tenant) == to_nano(Decimal(15))

    assert end_grants() == 0
    assert end_grants(now=datetime.now(UTC) + 2 * SOON) == 1
    assert budget_in_force(tenant) == to_nano(Decimal(10))


def test_two_grants_end_each_at_its_time(tenant):
    grant(tenant, 5)
    grant(tenant, 2, expires_at=datetime.now(UTC) + 3 * SOON)
    end_grants(now=datetime.now(UTC) + 2 * SOON)
    assert budget_in_force(tenant) == to_nano(Decimal(12))


def test_a_grant_to_an_unlimited_tenant_limits_nothing(redis_server):
    tenant = TenantFactory(tier__monthly_budget_usd=None)
    grant(tenant, 5)
    assert budget_in_force(tenant) is None


def test_a_new_policy_token_is_put_when_a_grant_is_booked(
    tenant, django_capture_on_commit_callbacks, redis_server
):
    before = read_version(tenant.pk)
    with django_capture_on_commit_callbacks(execute=True):
        grant(tenant, 5)
    assert read_version(tenant.pk).tenant != before.tenant


def test_prepaid_without_a_top_up_may_spend_nothing(prepaid):
    assert budget_in_force(prepaid) == 0


def test_top_ups_add_up_and_the_same_reference_is_booked_once(prepaid):
    first = top_up(prepaid, 20, "INV-1")
    assert top_up(prepaid, 20, "INV-1") == first
    top_up(prepaid, 5, "INV-2")
    assert budget_in_force(prepaid) == to_nano(Decimal(25))
    with pytest.raises(AlreadyBooked):
        top_up(prepaid, 21, "INV-1")


def test_what_was_used_before_the_first_top_up_takes_nothing_off_it(prepaid):
    DailyUsageFactory(tenant=prepaid, cost_usd=Decimal(7))
    top_up(prepaid, 20, "INV-1")
    assert budget_in_force(prepaid) == to_nano(Decimal(27))
    assert prepaid.topped_up_to_usd == 20


def test_alerts_count_from_the_balance_after_the_last_top_up(prepaid, redis_server):
    top_up(prepaid, 20, "INV-1")
    redis_server.hset(f"{tenant_key(prepaid.pk)}:b:prepaid", "spent", to_nano(Decimal(15)))
    top_up(prepaid, 5, "INV-2")
    prepaid.refresh_from_db()
    assert prepaid.topped_up_to_usd == 10
