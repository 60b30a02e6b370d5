"""From a settled call to the three books, exactly once."""

import json
from decimal import Decimal
from io import StringIO

import msgspec
import pytest
from django.core.management import call_command

from billing.events import UsageEvent, encode
from billing.ledger.drain import drain_all
from billing.ledger.posting import Entry, post
from billing.meter.reaper import Reaper
from billing.models import Adjustment, BudgetAlert, DailyUsage, UsageRecord
from billing.request_ids import new_request_id
from tests.billing.meter.test_admission import DOLLAR, a_principal, admit, an_offer, costing
from tests.factories import TenantFactory
from tests.meters import meter

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tenant(redis_server):
    tenant = TenantFactory()
    mark = f"{{s{tenant.pk % 4}}}"
    redis_server.hset(f"{mark}:shard", mapping={"epoch": "e", "opens_ms": 0, "policy": "everyone"})
    redis_server.hset(f"{mark}:t:{tenant.pk}", "policy", "tenant")
    return tenant


def an_event(tenant_id, **values):
    defaults = {
        "key_id": 1,
        "day": "2026-11-23",
        "period_start": "2026-11-01",
        "wire": "anthropic",
        "model": "m",
    }
    return UsageEvent(request_id=new_request_id(), tenant_id=tenant_id, **{**defaults, **values})


def put(redis_server, event, **fields):
    redis_server.xadd(f"{{s{event.tenant_id % 4}}}:usage", {"e": encode(event), **fields})


def test_a_batch_that_is_posted_twice_counts_once(tenant):
    entries = [Entry(id="1-0", event=an_event(tenant.pk, cost_nano=5))]
    post(entries, shard=0)

    again = post(entries, shard=0)

    assert (again.inserted, again.repeated) == (0, 1)
    assert DailyUsage.objects.get().requests == 1


def test_of_two_events_of_one_call_in_a_batch_all_books_take_the_first(tenant):
    """A reap that a flush took, and the settle that came before it was repeated."""
    event = an_event(tenant.pk, cost_nano=9)
    other = msgspec.structs.replace(event, cost_nano=5)

    batch = post([Entry(id="1-0", event=event), Entry(id="2-0", event=other)], shard=0)

    assert (batch.inserted, batch.repeated) == (1, 1)
    assert UsageRecord.objects.get().cost_usd == DailyUsage.objects.get().cost_usd == Decimal("0.000000009")


def test_a_crossed_threshold_is_alerted_once(tenant, redis_server):
    event = an_event(tenant.pk, budget_nano=100)
    put(redis_server, event, crossed="80,90", spent=95)
    put(redis_server, msgspec.structs.replace(event, request_id=new_request_id()), crossed="90", spent=96)

    drain_all()

    assert list(BudgetAlert.objects.order_by("threshold").values_list("threshold", flat=True)) == [80, 90]


async def books_of(principal, offer, nano):
    admission = await admit(principal, offer)
    await meter().settle(admission.lease, costing(nano))
    await meter().pipe.close()


def check(*arguments):
    out = StringIO()
    code: int | str | None = 0
    try:
        call_command("check_books", "--json", *arguments, stdout=out)
    except SystemExit as stop:
        code = stop.code
    return code, json.loads(out.getvalue())


def test_the_books_agree_before_and_after_the_drain_and_drift_is_said(tenant, redis_server):
    import asyncio

    principal = a_principal(tenant_id=tenant.pk, monthly_budget_nano=DOLLAR)
    asyncio.run(books_of(principal, an_offer(hold=100), 3_750_000))
    code, report = check()
    assert (code, report["tenants"][0]["undrained"]) == (0, 1)

    drain_all()
    code, report = check("--tenant", tenant.slug)
    assert code == 0
    assert report["tenants"][0]["ledger_usd"] == report["tenants"][0]["redis_usd"] == "0.003750000"

    [counter] = redis_server.keys("*:b:20*")
    redis_server.hincrby(counter, "spent", 1)
    assert check()[0] == 1


def test_a_dead_workers_lease_is_booked_at_its_hold_and_a_late_settle_adjusts(tenant, redis_server):
    import asyncio

    async def story():
        admission = await admit(
            a_principal(tenant_id=tenant.pk, monthly_budget_nano=DOLLAR), an_offer(hold=1000)
        )
        assert await Reaper(meter()).reap(dead_after=0) == 1
        late = await meter().settle(admission.lease, costing(400))
        assert not late.first
        await meter().pipe.close()

    asyncio.run(story())
    drain_all()

    [row] = UsageRecord.objects.all()
    assert (row.status, row.estimated, row.cost_usd) == ("orphaned", True, Decimal("0.000001"))
    assert Adjustment.objects.get().amount_usd == Decimal("-0.0000006")
    assert check()[0] == 0
