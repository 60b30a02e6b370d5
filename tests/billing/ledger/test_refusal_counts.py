"""Refusals are counted by tenant, day and code; what is in shadow is counted and bites nobody."""

from datetime import date

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from billing.ledger import refusal_counts
from billing.ledger.refusal_counts import VerdictSum
from billing.models import DailyVerdict
from tenants.models import TenantStatus
from tests.factories import (
    ApiKeyFactory,
)
from tests.proxy.conftest import books as books  # a fixture
from tests.proxy.conftest import upstream_answering as upstream_answering  # a fixture
from tests.proxy.conftest import world as world  # a fixture
from tests.proxy.gateway import post, runtime
from tests.proxy.scripted_upstream import message, raw

pytestmark = pytest.mark.django_db(transaction=True)


async def counted(shadow=False):
    """Code (and detail) by how often, after the heartbeat."""
    await runtime().refusals.flush()
    rows = await sync_to_async(lambda: list(DailyVerdict.objects.filter(shadow=shadow)))()
    return {row.code + (f" {row.detail}" if row.detail else ""): row.requests for row in rows}


async def test_each_refusal_is_counted_under_its_code(world, upstream_answering):
    await sync_to_async(world.with_limits)(max_requests_per_minute=1)
    async with upstream_answering(raw(message())):
        for _ in range(3):
            await post(world.key)
        await post(world.key, model="gpt-4o")
        await post(world.key, messages=[])

    assert await counted() == {"rate_limited": 2, "model_not_allowed": 1, "invalid_request": 1}


async def test_a_suspended_tenant_and_a_revoked_key_are_counted(world, upstream_answering):
    revoked = await sync_to_async(ApiKeyFactory)(tenant=world.tenant, revoked_at="2026-01-01T00:00:00Z")
    await post(revoked.plain)
    await sync_to_async(world.with_limits)(status=TenantStatus.SUSPENDED)

    await post(world.key)

    assert await counted() == {"key_revoked": 1, "tenant_suspended": 1}


async def test_what_is_served_is_no_refusal(world, upstream_answering):
    async with upstream_answering(raw(message())):
        await post(world.key)

    assert await counted() == {}


async def test_counts_add_up_over_heartbeats(world, upstream_answering):
    for _ in range(2):
        await post(world.key, model="gpt-4o")
        await runtime().refusals.flush()

    assert await counted() == {"model_not_allowed": 2}


async def test_while_the_database_is_away_counts_are_kept(world, upstream_answering, monkeypatch):
    await post(world.key, model="gpt-4o")
    with monkeypatch.context() as patched:
        patched.setattr(
            refusal_counts, "_write", lambda counts: (_ for _ in ()).throw(OperationalError("away"))
        )
        await runtime().refusals.flush()

    assert await counted() == {"model_not_allowed": 1}


def test_sums_are_of_the_days_asked_for(world):
    for day, code in ((1, "rate_limited"), (2, "rate_limited"), (3, "budget_exceeded")):
        DailyVerdict.objects.create(tenant=world.tenant, day=date(2026, 1, day), code=code, requests=day)

    found = refusal_counts.sums(world.tenant.pk, since=date(2026, 1, 1), until=date(2026, 1, 2))

    assert found == [VerdictSum(code="rate_limited", detail="", shadow=False, requests=3)]
