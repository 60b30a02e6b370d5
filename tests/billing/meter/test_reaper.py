"""What the dead leave behind is settled once, at what it held; whoever comes late corrects it."""

import asyncio
import time
from decimal import Decimal

import msgspec
import pytest
from asgiref.sync import sync_to_async

from billing.ledger.books import check_books
from billing.ledger.drain import drain_all
from billing.meter.journal import WORKER
from billing.meter.lease import RequestMetadata
from billing.meter.reaper import DEAD_AFTER_SECONDS, Reaper
from billing.models import Adjustment, UsageRecord
from billing.request_ids import new_request_id
from gateway_project.ground.redis_keys import shard_of, tenant_key
from tests.billing.meter.test_admission import DOLLAR, MODEL, a_principal, an_offer
from tests.billing.meter.test_heartbeat import admitted, costing, open_now
from tests.billing.meter.test_heartbeat import tenant as tenant  # a fixture
from tests.meters import meter

NOW = time.time
pytestmark = pytest.mark.django_db(transaction=True)


async def books():
    await sync_to_async(drain_all)()
    rows = UsageRecord.objects.values_list("cost_usd", "status", "estimated")
    corrections = Adjustment.objects.values_list("amount_usd", "kind")
    return await sync_to_async(lambda: (list(rows), list(corrections)))()


async def test_a_reap_that_is_repeated_is_no_late_settle(tenant, heartbeat):
    """Else it would use up the one correction there is, with nothing to correct."""
    admission = await admitted(tenant, hold=5_000)
    await Reaper(meter()).reap(dead_after=-1)
    await meter().pipe.close()  # a new connection: what may be lost is repeated
    await heartbeat.beat("ledger")

    await meter().settle(admission.lease, costing(2_000))
    rows, corrections = await books()

    assert rows == [(Decimal("0.000005"), "orphaned", True)]
    assert corrections == [(Decimal("-0.000003"), "late_settle")]


async def test_a_reap_that_a_flush_took_is_repeated(tenant, redis_server, heartbeat):
    await admitted(tenant, hold=5_000)
    await Reaper(meter()).reap(dead_after=-1)
    redis_server.flushall()

    await heartbeat.beat("ledger")
    rows, corrections = await books()

    assert rows == [(Decimal("0.000005"), "orphaned", True)]
    assert corrections == []


async def test_a_settle_that_comes_after_both_is_still_a_correction(tenant, redis_server, heartbeat):
    admission = await admitted(tenant, hold=5_000)
    await Reaper(meter()).reap(dead_after=-1)
    meter().journal.closed(admission.lease)
    redis_server.flushall()
    await heartbeat.beat("ledger")
    open_now(redis_server, tenant)

    await meter().settle(admission.lease, costing(9_000))
    rows, corrections = await books()

    assert len(rows) == 1
    assert corrections == [(Decimal("0.000004"), "late_settle")]


async def test_a_settle_that_comes_after_a_reap_was_drained_and_a_flush_is_still_a_correction(
    tenant, redis_server, heartbeat
):
    admission = await admitted(tenant, hold=5_000)
    await Reaper(meter()).reap(dead_after=-1)
    await books()
    meter().journal.opened(admission.lease)  # the process that made the call has not heard of it
    redis_server.flushall()
    await heartbeat.beat("w")
    open_now(redis_server, tenant)
    await admitted(tenant)  # the counters are there again

    await meter().settle(admission.lease, costing(9_000))
    rows, corrections = await books()
    [book] = await sync_to_async(check_books)([tenant])

    assert rows == [(Decimal("0.000005"), "orphaned", True)]
    assert corrections == [(Decimal("0.000004"), "late_settle")]
    assert book.ok


async def test_two_reapers_at_once_settle_a_call_once(tenant, redis_server):
    for _ in range(20):
        await admitted(tenant, hold=1_000)

    reaped = await asyncio.gather(*(Reaper(meter()).reap(dead_after=-1) for _ in range(3)))
    rows, _ = await books()

    assert (sum(reaped), len(rows)) == (20, 20)
    assert redis_server.xlen(f"{{s{shard_of(tenant.pk)}}}:usage") == 0
    assert not redis_server.exists(f"{tenant_key(tenant.pk)}:leases")


async def begun_a_minute_ago(tenant, redis_server):
    lease = (await admitted(tenant, hold=1_000)).lease
    lease.admitted_us -= 60_000_000
    redis_server.hset(f"{tenant_key(tenant.pk)}:leases", lease.request_id, lease.text())
    return lease


async def test_a_process_that_beats_keeps_its_calls_however_long_they_take(tenant, redis_server, heartbeat):
    lease = await begun_a_minute_ago(tenant, redis_server)
    await heartbeat.beat(WORKER)

    assert await Reaper(meter()).reap() == 0
    assert (await meter().settle(lease, costing(10))).first


async def test_a_reapers_own_clock_declares_nobody_dead(tenant, redis_server, monkeypatch, heartbeat):
    await begun_a_minute_ago(tenant, redis_server)
    await heartbeat.beat(WORKER)
    monkeypatch.setattr("time.time", lambda: NOW() + 3600)

    assert await Reaper(meter()).reap() == 0


async def test_nobody_is_declared_dead_who_could_not_be_heard_of_while_redis_was_away(tenant, redis_server):
    await begun_a_minute_ago(tenant, redis_server)
    looks = Reaper(meter())

    assert await looks.look() == 0  # it has only just begun to look
    looks.seen_at -= DEAD_AFTER_SECONDS
    assert await looks.look() == 0  # Redis is back, and this process was the first to notice
    assert await looks.look() == 1


async def test_an_extended_hold_is_what_the_dead_call_is_charged(tenant):
    offer = an_offer(MODEL, hold=100, per_token=10, max_tokens=500)
    admission = await meter().admit(
        a_principal(tenant.pk, monthly_budget_nano=DOLLAR),
        [msgspec.structs.replace(offer, first_tokens=10)],
        request_id=new_request_id(),
        metadata=RequestMetadata("anthropic", "sonnet", True),
    )
    await meter().extend(admission.lease, 30)

    await Reaper(meter()).reap(dead_after=-1)
    rows, _ = await books()

    assert rows == [(Decimal("0.0000005"), "orphaned", True)]


async def test_a_lease_that_cannot_be_read_stops_no_other(tenant, redis_server, caplog):
    await admitted(tenant, hold=5_000)
    redis_server.hset(f"{tenant_key(tenant.pk)}:leases", "of-another-version", b"\xff|nothing we know")

    reaper = Reaper(meter())
    assert await reaper.reap(dead_after=-1) == 1
    assert await reaper.reap(dead_after=-1) == 0

    assert caplog.text.count("of-another-version") == 1
