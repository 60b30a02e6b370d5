"""Redis loses everything, or its last second; what this process knows is put back, once."""

import asyncio

import msgspec
import pytest
from asgiref.sync import sync_to_async

from billing.ledger.books import check_books
from billing.ledger.drain import Drain
from billing.meter.connection.protocol import AnswerLost
from billing.meter.errors import BudgetExceeded, MeteringUnavailable
from billing.meter.heartbeat import Heartbeat
from billing.meter.lease import RequestMetadata
from billing.meter.settlement import CallOutcome
from billing.models import Adjustment, UsageRecord
from billing.request_ids import new_request_id
from billing.usage import Usage
from gateway_project.ground.redis_keys import shard_of, tenant_key
from tests.billing.meter.test_admission import DOLLAR, MODEL, a_principal, an_offer
from tests.factories import TenantFactory
from tests.meters import meter

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def tenant(redis_server, settings, heartbeat):
    meter().journal.clear()
    tenant = await sync_to_async(TenantFactory)(models=[])
    for shard in range(settings.METER_SHARDS):
        redis_server.hset(f"{{s{shard}}}:shard", mapping={"epoch": "e", "opens_ms": 0, "policy": "everyone"})
    redis_server.hset(tenant_key(tenant.pk), "policy", "tenant")
    await heartbeat.beat("w")
    yield tenant
    meter().journal.clear()
    await meter().pipe.close()


async def admitted(tenant, hold=DOLLAR):
    return await meter().admit(
        a_principal(tenant.pk, monthly_budget_nano=100 * DOLLAR),
        [an_offer(MODEL, hold=hold)],
        request_id=new_request_id(),
        metadata=RequestMetadata("anthropic", "sonnet", False),
    )


def costing(nano):
    return CallOutcome(usage=Usage(output_tokens=1), cost_nano=nano, upstream_cost_nano=nano)


def open_now(redis_server, tenant):
    """End the quarantine, and give the tenant the policy token it had."""
    redis_server.hset(f"{{s{shard_of(tenant.pk)}}}:shard", mapping={"opens_ms": 0, "policy": "everyone"})
    redis_server.hset(tenant_key(tenant.pk), "policy", "tenant")


async def books_of(tenant):
    def read():
        Drain().step()
        [book] = check_books([tenant])
        return book, [row.cost_usd for row in UsageRecord.objects.all()]

    return await sync_to_async(read)()


async def test_after_a_flush_settled_calls_that_were_not_drained_reach_the_ledger(
    tenant, redis_server, heartbeat
):
    admission = await admitted(tenant)
    await meter().settle(admission.lease, costing(5_000))
    redis_server.flushall()

    await heartbeat.beat("w")
    book, costs = await books_of(tenant)

    assert [int(cost * DOLLAR) for cost in costs] == [5_000]
    assert book.ok


async def test_after_a_flush_drained_calls_are_not_counted_twice(tenant, redis_server, heartbeat):
    admission = await admitted(tenant)
    await meter().settle(admission.lease, costing(5_000))
    await books_of(tenant)
    redis_server.flushall()

    await heartbeat.beat("w")

    assert redis_server.xlen(f"{{s{shard_of(tenant.pk)}}}:usage") == 0


async def test_after_a_flush_open_calls_are_reserved_again_and_settle_once(tenant, redis_server, heartbeat):
    admission = await admitted(tenant)
    redis_server.flushall()
    await heartbeat.beat("w")
    open_now(redis_server, tenant)

    second = await admitted(tenant)
    held = int(redis_server.hget(f"{tenant_key(tenant.pk)}:{second.lease.counters[0]}", "held"))
    await meter().settle(admission.lease, costing(7_000))
    await meter().settle(second.lease, costing(8_000))
    book, costs = await books_of(tenant)

    assert held == 2 * DOLLAR
    assert sorted(int(cost * DOLLAR) for cost in costs) == [7_000, 8_000]
    assert (book.ok, book.reserved_usd) == (True, 0)


async def test_nothing_is_admitted_before_every_process_had_a_beat(tenant, redis_server, heartbeat):
    redis_server.flushall()
    await heartbeat.beat("w")
    redis_server.hset(f"{{s{shard_of(tenant.pk)}}}:shard", "policy", "everyone")

    with pytest.raises(MeteringUnavailable):
        await admitted(tenant)


async def test_a_budget_spent_before_a_flush_is_spent_after_it(tenant, redis_server, heartbeat):
    for _ in range(3):
        admission = await admitted(tenant)
        await meter().settle(admission.lease, costing(30 * DOLLAR))
    redis_server.flushall()
    await heartbeat.beat("w")
    open_now(redis_server, tenant)

    with pytest.raises(BudgetExceeded):
        await admitted(tenant, hold=11 * DOLLAR)
    await admitted(tenant, hold=10 * DOLLAR)


async def test_a_new_connection_makes_a_process_repeat_what_may_be_lost(tenant, redis_server, heartbeat):
    """As after a restart that lost its last second: the epoch stands, the lease and the event are gone."""
    settled, still_open = await admitted(tenant), await admitted(tenant)
    await meter().settle(settled.lease, costing(5_000))
    mark, place = f"{{s{shard_of(tenant.pk)}}}", tenant_key(tenant.pk)
    redis_server.delete(f"{mark}:usage", f"{mark}:done:{settled.lease.request_id}", f"{place}:leases")
    redis_server.hset(f"{place}:{settled.lease.counters[0]}", mapping={"spent": 0, "held": 0})
    await meter().pipe.close()

    await heartbeat.beat("w")

    assert redis_server.xlen(f"{mark}:usage") == 1
    spent, held = redis_server.hmget(f"{place}:{settled.lease.counters[0]}", "spent", "held")
    assert (int(spent), int(held)) == (5_000, DOLLAR)
    assert redis_server.hkeys(f"{place}:leases") == [still_open.lease.request_id.encode()]


async def test_a_new_connection_counts_nothing_twice_that_waits_longer_than_its_tombstone(
    tenant, redis_server, heartbeat
):
    """PostgreSQL is away for minutes, nothing is drained, and the connection to Redis breaks."""
    admission = await admitted(tenant)
    await meter().settle(admission.lease, costing(5_000))
    mark = f"{{s{shard_of(tenant.pk)}}}"
    redis_server.delete(f"{mark}:done:{admission.lease.request_id}")
    await meter().pipe.close()

    await heartbeat.beat("w")
    redis_server.delete(f"{mark}:done:{admission.lease.request_id}")
    await meter().pipe.close()
    await heartbeat.beat("w")

    spent = redis_server.hget(f"{tenant_key(tenant.pk)}:{admission.lease.counters[0]}", "spent")
    assert (int(spent), redis_server.xlen(f"{mark}:usage")) == (5_000, 1)


async def test_a_settle_without_an_answer_that_was_drained_stays_done_however_late_it_is_repeated(
    tenant, redis_server, heartbeat
):
    """Redis dies after it has settled, before it says so, and is back when the tombstone has expired."""
    admission = await admitted(tenant)
    await meter().settle(admission.lease, costing(5_000))
    await books_of(tenant)
    meter().journal.opened(admission.lease)
    redis_server.delete(f"{{s{shard_of(tenant.pk)}}}:done:{admission.lease.request_id}")
    await meter().pipe.close()

    await heartbeat.beat("w")
    again = await meter().settle(admission.lease, costing(5_000))
    book, costs = await books_of(tenant)

    assert not again.first
    assert [int(cost * DOLLAR) for cost in costs] == [5_000]
    assert (book.ok, book.reserved_usd) == (True, 0)
    assert not await sync_to_async(Adjustment.objects.exists)()


async def test_a_lost_second_gives_no_drained_call_its_lease_back(tenant, redis_server, heartbeat):
    """The ledger was faster than Redis's disk: the row is there, and the lease is open again."""
    lease = (await admitted(tenant)).lease
    await meter().settle(lease, costing(5_000))
    await books_of(tenant)
    place, mark = tenant_key(tenant.pk), f"{{s{shard_of(tenant.pk)}}}"
    redis_server.delete(f"{mark}:done:{lease.request_id}")
    redis_server.hset(f"{place}:leases", lease.request_id, lease.text())
    redis_server.hset(f"{place}:{lease.counters[0]}", mapping={"spent": 0, "held": DOLLAR})
    await meter().pipe.close()

    await heartbeat.beat("w")
    book, costs = await books_of(tenant)

    assert not redis_server.exists(f"{place}:leases")
    assert [int(cost * DOLLAR) for cost in costs] == [5_000]
    assert (book.ok, book.reserved_usd) == (True, 0)


async def test_two_beats_put_nothing_back_twice(tenant, redis_server, heartbeat):
    await admitted(tenant)
    admission = await admitted(tenant)
    await meter().settle(admission.lease, costing(5_000))
    redis_server.flushall()

    await asyncio.gather(heartbeat.beat("w"), heartbeat.beat("v"))
    await heartbeat.beat("w")

    assert redis_server.xlen(f"{{s{shard_of(tenant.pk)}}}:usage") == 1
    assert redis_server.hlen(f"{tenant_key(tenant.pk)}:leases") == 1


async def test_what_was_drained_is_forgotten(tenant, redis_server, heartbeat):
    admission = await admitted(tenant)
    await meter().settle(admission.lease, costing(5_000))
    await heartbeat.beat("w")
    before = len(meter().journal._settles[shard_of(tenant.pk)])
    await books_of(tenant)
    await asyncio.sleep(0.01)
    await heartbeat.beat("w")

    assert (before, len(meter().journal._settles[shard_of(tenant.pk)])) == (1, 0)


async def test_an_admission_that_got_no_answer_is_taken_back(tenant, redis_server, monkeypatch, heartbeat):
    """As of a Redis that stood still: the caller was told 503, and the command was carried out later."""
    carried_out = meter().pipe.execute
    answered = False

    async def no_answer(call):
        reply = await carried_out(call)
        if call.script.name == "admit" and not answered:
            raise AnswerLost("no answer in time")
        return reply

    first = await admitted(tenant)  # warms the counters
    monkeypatch.setattr(meter().pipe, "execute", no_answer)
    with pytest.raises(MeteringUnavailable):
        await admitted(tenant)
    place = tenant_key(tenant.pk)
    before = redis_server.hlen(f"{place}:leases")
    await heartbeat.beat("w")

    assert (before, redis_server.hkeys(f"{place}:leases")) == (2, [first.lease.request_id.encode()])
    assert int(redis_server.hget(f"{place}:{first.lease.counters[0]}", "held")) == DOLLAR


async def test_policies_are_read_anew_where_redis_may_say_an_old_token_again(tenant):
    read_anew = []
    heartbeat = Heartbeat(meter(), forget_policies=lambda: read_anew.append(True))
    for _ in range(3):
        await heartbeat.beat("w")  # by then each node of a cluster has its connection
    read_anew.clear()
    await heartbeat.beat("w")
    before = list(read_anew)
    await meter().pipe.close()  # as its server's end would
    await heartbeat.beat("w")
    await heartbeat.beat("w")

    assert before == []
    assert read_anew


async def test_an_extension_that_got_no_answer_is_released_with_the_call(tenant, redis_server):
    admission = await admitted(tenant)
    place, counter = tenant_key(tenant.pk), admission.lease.counters[0]
    lease = msgspec.structs.replace(admission.lease, offer=an_offer(MODEL, per_token=10))
    await meter().extend(lease, 100)

    await meter().settle(admission.lease, costing(5_000))

    assert int(redis_server.hget(f"{place}:{counter}", "held")) == 0
