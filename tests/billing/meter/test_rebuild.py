"""Counters that went cold: rebuilt once, together, by one of however many processes meet them."""

import asyncio
import json
import os
import subprocess
import sys
from decimal import Decimal
from urllib.parse import urlsplit, urlunsplit

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection, transaction
from django.db.backends.signals import connection_created
from django.test.utils import CaptureQueriesContext

from billing.ledger.drain import Drain
from billing.meter import rebuild
from billing.meter.errors import BudgetExceeded, MeteringUnavailable
from billing.meter.lease import RequestMetadata, Run
from billing.meter.meter import IDLE_SECONDS
from billing.meter.rebuild import Rebuilder
from billing.meter.scripts import BEGIN_REBUILD, BeginRebuildArguments, BeginRebuildKeys
from billing.meter.settlement import TOMBSTONE_SECONDS
from billing.models import DailyUsage
from billing.request_ids import new_request_id
from gateway_project.ground.money import NanoUSD
from gateway_project.ground.redis_keys import shard_of, tenant_key
from tenants.models import Tenant
from tenants.policy import KeyPolicy
from tests.billing.meter.cold_herd import colds
from tests.billing.meter.test_admission import DOLLAR, MODEL, a_principal, an_offer, costing
from tests.factories import DailyUsageFactory, TenantFactory, TierFactory
from tests.meters import meter

pytestmark = pytest.mark.django_db(transaction=True)
DAY = "2026-03-01"


@pytest.fixture
async def tenant(redis_server, settings):
    tenant = await sync_to_async(TenantFactory)(models=[])
    for shard in range(settings.METER_SHARDS):
        redis_server.hset(f"{{s{shard}}}:shard", mapping={"epoch": "e", "opens_ms": 0, "policy": "everyone"})
    redis_server.hset(tenant_key(tenant.pk), "policy", "tenant")
    yield tenant
    await meter().pipe.close()


@pytest.fixture
def statements():
    """Every SELECT that a thread with a database connection of its own makes."""
    seen = []

    def note(execute, sql, params, many, context):
        if sql.startswith("SELECT"):
            seen.append(sql)
        return execute(sql, params, many, context)

    def watch(connection, **_):
        connection.execute_wrappers.append(note)

    connection_created.connect(watch)
    yield seen
    connection_created.disconnect(watch)


def tenants_who_spent(count):
    tenants = Tenant.objects.bulk_create(TenantFactory.build_batch(count, tier=TierFactory()))
    DailyUsage.objects.bulk_create(
        DailyUsageFactory.build(
            tenant=tenant,
            day=DAY,
            period_start=DAY,
            cost_usd=Decimal(number) / 1000,
            input_tokens=number,
            output_tokens=0,
        )
        for number, tenant in enumerate(tenants, 1)
    )
    return tenants


async def spent(tenant, hold=0, **arguments):
    """A call that costs a dollar."""
    admission = await admitted(tenant, hold=hold, **arguments)
    await meter().settle(admission.lease, costing(DOLLAR, tokens=10))


async def admitted(tenant, *, hold=0, user="", run=None, **limits):
    return await meter().admit(
        a_principal(tenant.pk, **limits),
        [an_offer(MODEL, hold=hold)],
        request_id=new_request_id(),
        metadata=RequestMetadata("anthropic", "sonnet", False, end_user=user),
        run=run,
    )


async def test_hundreds_of_tenants_cold_at_once_cost_two_queries(tenant, redis_server, statements):
    tenants = await sync_to_async(tenants_who_spent)(300)
    wanted = colds([each.pk for each in tenants], DAY)

    rebuilder = Rebuilder(meter().pipe)
    await asyncio.gather(*(rebuilder.rebuild(cold) for cold in wanted for _ in range(3)))

    assert len(statements) == 2  # the spend of all of them, the tokens of all of them
    for number, each in enumerate(tenants, 1):
        place = tenant_key(each.pk)
        assert redis_server.hget(f"{place}:b:{DAY}", "spent") == str(number * 1_000_000).encode()
        assert redis_server.hget(f"{place}:d:{DAY}", "tokens") == str(number).encode()


async def test_processes_that_meet_the_same_cold_counters_build_each_once(tenant, redis_server):
    tenants = await sync_to_async(tenants_who_spent)(150)
    parts = urlsplit(os.environ["DATABASE_URL"])
    url = urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}"))
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-m", "tests.billing.meter.cold_herd", DAY),
            *(str(each.pk) for each in tenants),
            env={**os.environ, "DATABASE_URL": url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    outputs = [
        output for output, _ in await asyncio.gather(*(each.communicate(b"go\n") for each in processes))
    ]

    assert sum(json.loads(output) for output in outputs) == 2 * len(tenants)
    for number, each in enumerate(tenants, 1):
        assert (
            redis_server.hget(f"{tenant_key(each.pk)}:b:{DAY}", "spent") == str(number * 1_000_000).encode()
        )


async def test_a_counter_waits_for_the_process_that_builds_it(tenant, redis_server):
    [cold, _] = colds([tenant.pk], DAY)
    counter = f"{tenant_key(tenant.pk)}:{cold.counter}"
    redis_server.hset(counter, mapping={"builder": "another process", "missed": 0})

    waiting = asyncio.create_task(Rebuilder(meter().pipe).rebuild(cold))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    redis_server.hset(counter, mapping={"spent": 7, "held": 0})
    await waiting

    assert redis_server.hget(counter, "spent") == b"7"


async def test_a_builder_that_died_is_followed_by_the_next(tenant, redis_server, monkeypatch):
    monkeypatch.setattr(rebuild, "BUILDER_MS", 60)
    [cold, _] = colds([tenant.pk], DAY)
    counter = f"{tenant_key(tenant.pk)}:{cold.counter}"
    dead = BeginRebuildArguments(field="spent", builder="the dead", builder_ms=60)
    await meter().pipe.run(BEGIN_REBUILD, BeginRebuildKeys(counter=counter), dead)

    await Rebuilder(meter().pipe).rebuild(cold)

    assert redis_server.hgetall(counter) == {b"spent": b"0", b"held": b"0"}


async def test_a_settle_during_the_sum_is_neither_lost_nor_counted_twice(tenant, redis_server, monkeypatch):
    open_call = await admitted(tenant)
    [counter] = redis_server.keys(f"{tenant_key(tenant.pk)}:b:*")
    redis_server.delete(counter)
    sums = []
    totals = Rebuilder._totals

    async def settling_meanwhile(rebuilder, colds):
        found = await totals(rebuilder, colds)
        sums.append(dict(found))
        if len(sums) == 1:
            await meter().settle(open_call.lease, costing(5_000))
        return found

    monkeypatch.setattr(Rebuilder, "_totals", settling_meanwhile)
    await admitted(tenant)

    assert [list(each.values()) for each in sums] == [[0], [5_000]]
    assert redis_server.hget(counter, "spent") == b"5000"


async def test_the_calls_of_other_end_users_do_not_make_a_sum_start_again(tenant, redis_server, monkeypatch):
    limits = {"user_monthly_budget_nano": 10 * DOLLAR}
    await spent(tenant, user="ann", **limits)
    open_call = await admitted(tenant, user="bob", **limits)
    for counter in redis_server.keys(f"{tenant_key(tenant.pk)}:u:*:b:*"):
        if redis_server.hget(counter, "spent") != b"0":
            redis_server.delete(counter)
    sums = []
    totals = Rebuilder._totals

    async def settling_meanwhile(rebuilder, colds):
        found = await totals(rebuilder, colds)
        sums.append(list(found.values()))
        await meter().settle(open_call.lease, costing(5_000))
        return found

    monkeypatch.setattr(Rebuilder, "_totals", settling_meanwhile)
    await admitted(tenant, user="ann", **limits)

    assert sums == [[DOLLAR]]


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ({"user": "ann"}, {"user_monthly_budget_nano": 2 * DOLLAR}),
        ({"user": "a\0nn"}, {"user_monthly_budget_nano": 2 * DOLLAR}),
        ({"run": Run("nightly", NanoUSD(2 * DOLLAR))}, {}),
    ],
)
async def test_an_end_user_or_a_run_that_was_idle_finds_what_it_spent(
    tenant, redis_server, arguments, limits
):
    await spent(tenant, **arguments, **limits)
    await spent(tenant, **arguments, **limits)
    await sync_to_async(Drain().step)()
    for counter in redis_server.keys(f"{tenant_key(tenant.pk)}:[ur]:*"):
        redis_server.delete(counter)

    with pytest.raises(BudgetExceeded):
        await admitted(tenant, hold=1, **arguments, **limits)


async def test_without_the_database_a_cold_counter_is_no_budget(tenant, redis_server, monkeypatch):
    def away(waiting):
        raise OperationalError("gone")

    monkeypatch.setattr(rebuild, "ledger_totals", away)

    with pytest.raises(MeteringUnavailable):
        await admitted(tenant)

    assert not redis_server.hlen(f"{tenant_key(tenant.pk)}:leases")
    assert [redis_server.hkeys(name) for name in redis_server.keys("*:b:*")] == [
        [b"missed"]
    ]  # the next may try


async def test_end_users_who_left_leave_nothing_in_redis(tenant, redis_server):
    """What 40 users leave is what 40,000 leave, in proportion: each key of theirs goes by itself."""
    limits = {"user_monthly_budget_nano": DOLLAR * 10, "user_requests_per_minute": 100}
    await spent(tenant, **limits)
    before = set(redis_server.scan_iter())
    for number in range(40):
        await spent(tenant, user=f"user-{number}", run=Run(f"run-{number}", NanoUSD(DOLLAR * 10)), **limits)
    after = set(redis_server.scan_iter()) - before
    place = tenant_key(tenant.pk)

    kinds = {
        "user window": (f"{place}:u:", ":rpm", 61),
        "user budget": (f"{place}:u:", "", IDLE_SECONDS),
        "run budget": (f"{place}:r:", "", IDLE_SECONDS),
        "tombstone": (f"{{s{shard_of(tenant.pk)}}}:done:", "", TOMBSTONE_SECONDS),
    }
    left: dict[str, int] = {}
    for name in map(bytes.decode, after):
        kind = next(
            k for k, (start, end, _) in kinds.items() if name.startswith(start) and name.endswith(end)
        )
        assert 0 < redis_server.ttl(name) <= kinds[kind][2], name
        left[kind] = left.get(kind, 0) + 1
    assert left == dict.fromkeys(kinds, 40)


@pytest.mark.parametrize(
    ("scope", "index"), [("user", "tenant_id_end_user_created_at_idx"), ("run", "tenant_id_run_id_idx")]
)
def test_what_an_end_user_or_a_run_spent_is_found_by_an_index(scope, index):
    cold = rebuild.MissingCounter(1, "c", scope, DAY, DAY, 0, "ann", "nightly", 0)
    with CaptureQueriesContext(connection) as asked:
        rebuild._booked([cold])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {asked.captured_queries[0]['sql']}")
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert f"Scan using billing_usagerecord_default_{index}" in plan, plan


async def test_what_costs_nothing_passes_a_budget_that_is_overdrawn(tenant):
    await spent(tenant, hold=DOLLAR, monthly_budget_nano=DOLLAR)

    with pytest.raises(BudgetExceeded):
        await admitted(tenant, hold=1, monthly_budget_nano=DOLLAR - 1)
    await admitted(tenant, hold=0, monthly_budget_nano=DOLLAR - 1)


def a_key(budget):
    return KeyPolicy(3, "main", "tn_x", None, None, None, budget)


async def test_a_budget_set_on_a_key_counts_the_calls_that_are_open_by_then(tenant):
    still_open = await admitted(tenant, hold=DOLLAR, key=a_key(None))

    with pytest.raises(BudgetExceeded):
        await admitted(tenant, hold=DOLLAR, key=a_key(2 * DOLLAR - 1))
    await meter().settle(still_open.lease, costing(DOLLAR))
    with pytest.raises(BudgetExceeded):
        await admitted(tenant, hold=DOLLAR, key=a_key(2 * DOLLAR - 1))
    await admitted(tenant, hold=DOLLAR, key=a_key(2 * DOLLAR))


async def test_a_budget_that_was_off_for_a_while_counts_what_was_spent_meanwhile(tenant):
    await spent(tenant, hold=DOLLAR, key=a_key(3 * DOLLAR))
    await spent(tenant, hold=DOLLAR, key=a_key(None))

    with pytest.raises(BudgetExceeded):
        await admitted(tenant, hold=DOLLAR + 1, key=a_key(3 * DOLLAR))
    await admitted(tenant, hold=DOLLAR, key=a_key(3 * DOLLAR))


async def test_calls_of_a_run_that_name_no_maximum_count_in_it(tenant):
    await spent(tenant, hold=DOLLAR, run=Run("nightly", NanoUSD(3 * DOLLAR)))
    await spent(tenant, hold=DOLLAR, run=Run("nightly"))

    with pytest.raises(BudgetExceeded):
        await admitted(tenant, hold=DOLLAR + 1, run=Run("nightly", NanoUSD(3 * DOLLAR)))
    await admitted(tenant, hold=DOLLAR, run=Run("nightly", NanoUSD(3 * DOLLAR)))


async def test_a_hold_grows_although_its_budget_has_left_redis(tenant, redis_server):
    """As after a flush: the lease is put back, and nobody has asked for the counter yet."""
    admission = await meter().admit(
        a_principal(tenant.pk, monthly_budget_nano=DOLLAR),
        [an_offer(MODEL, hold=100, per_token=10, max_tokens=1)],
        request_id=new_request_id(),
        metadata=RequestMetadata("anthropic", "sonnet", True),
    )
    counter = f"{tenant_key(tenant.pk)}:{admission.lease.counters[0]}"
    redis_server.delete(counter)

    await meter().extend(admission.lease, 50)

    assert int(redis_server.hget(counter, "held")) == admission.lease.hold_nano == 610
    assert redis_server.ttl(counter) > 40 * 86400


async def test_a_hold_that_grows_leaves_no_trace_of_a_counter_that_is_cold(tenant, redis_server):
    admission = await meter().admit(
        a_principal(tenant.pk, monthly_budget_nano=DOLLAR),
        [an_offer(MODEL, per_token=10)],
        request_id=new_request_id(),
        metadata=RequestMetadata("anthropic", "sonnet", True, end_user="ann"),
    )

    await meter().extend(admission.lease, 50)

    assert not redis_server.keys(f"{tenant_key(tenant.pk)}:[ku]:*")
