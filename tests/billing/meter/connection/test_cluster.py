"""The meter on a real Redis Cluster of three masters."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from billing.ledger.drain import drain_all
from billing.meter.errors import MeteringUnavailable
from billing.models import UsageRecord
from gateway_project.ground.policy_changes import put_tokens
from gateway_project.ground.redis_address import cluster_address
from gateway_project.ground.redis_client import store
from tests.billing.meter.test_admission import DOLLAR, a_principal, admit, an_offer, costing
from tests.meters import meter
from tests.redis_cluster import running_cluster

HOME = Path(__file__).resolve().parents[4]
SUITE = [
    "tests/billing/meter/test_admission.py",
    "tests/billing/meter/test_settlement.py",
    "tests/billing/meter/test_heartbeat.py",
    "tests/billing/ledger/test_posting.py",
    "tests/billing/ledger/test_books.py",
]
KEYS = "{s3}:t:7"


@pytest.fixture(scope="module")
def masters():
    with (
        tempfile.TemporaryDirectory(prefix="tenantry-cluster-", dir="/tmp") as home,
        running_cluster(Path(home)) as cluster,
    ):
        yield cluster


@pytest.fixture
async def cluster(masters, settings):
    settings.REDIS_URL = masters.url
    store.cache_clear()
    for node in masters.nodes:
        node.client().flushall()
    for shard in range(settings.METER_SHARDS):
        state = {"epoch": "e", "opens_ms": 0, "policy": "everyone"}
        store().hset(f"{{s{shard}}}:shard", mapping=state)
    store().hset(KEYS, "policy", "tenant")
    yield masters
    await meter().pipe.close()
    store.cache_clear()


def another(cluster):
    return next(node for node in cluster.nodes if node is not cluster.owner(KEYS))


async def settle_for_sure(lease, nano):
    while True:
        try:
            return await meter().settle(lease, costing(nano))
        except MeteringUnavailable:
            await asyncio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("TEST_REDIS") == "cluster", reason="this is that run")
def test_the_meter_suite_passes_unchanged():
    ours = ("DJANGO_SETTINGS_MODULE", "DATABASE_URL", "REDIS_URL", "DATA_DIR", "PYTEST_XDIST_WORKER")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "pytest", *SUITE],
        cwd=HOME,
        env={**environment, "TEST_REDIS": "cluster"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.django_db(transaction=True)
async def test_shards_live_on_several_nodes_and_a_policy_change_reaches_all_of_them(cluster, settings):
    owners = {cluster.owner(f"{{s{shard}}}:shard").port for shard in range(settings.METER_SHARDS)}

    await asyncio.to_thread(put_tokens, None)

    assert len(owners) > 1
    tokens = [store().hget(f"{{s{shard}}}:shard", "policy") for shard in range(settings.METER_SHARDS)]
    assert b"everyone" not in tokens


@pytest.mark.django_db(transaction=True)
async def test_a_slot_that_has_moved_is_found_by_the_next_call(cluster):
    await admit(a_principal())
    cluster.move_slot(KEYS, another(cluster))

    await admit(a_principal())

    assert store().hlen(f"{KEYS}:leases") == 2


@pytest.mark.django_db(transaction=True)
async def test_resharding_a_slot_under_load_loses_nothing(cluster):
    principal = a_principal(monthly_budget_nano=1000 * DOLLAR)
    done = asyncio.Event()
    served = refused = 0

    async def call_on():
        nonlocal served, refused
        while not done.is_set():
            try:
                admission = await admit(principal, an_offer(hold=100))
            except MeteringUnavailable:
                refused += 1
                await asyncio.sleep(0.01)
                continue
            await settle_for_sure(admission.lease, 7)
            served += 1

    callers = [asyncio.create_task(call_on()) for _ in range(16)]
    moves = 0
    while moves < 4 or served < 500:
        await asyncio.to_thread(cluster.move_slot, KEYS, another(cluster), pause=0.005)
        moves += 1
    done.set()
    await asyncio.gather(*callers)

    place = next(store().scan_iter(f"{KEYS}:b:*"))
    assert store().hmget(place, "spent", "held") == [str(7 * served).encode(), b"0"]
    await asyncio.to_thread(drain_all)
    assert await UsageRecord.objects.acount() == served


@pytest.mark.django_db(transaction=True)
async def test_a_dead_node_stops_its_tenants_until_it_is_back_and_nothing_is_lost(cluster):
    first = await admit(a_principal(monthly_budget_nano=1000 * DOLLAR), an_offer(hold=100))
    owner = cluster.owner(KEYS)
    owner.stop(signal.SIGKILL)

    with pytest.raises(MeteringUnavailable):
        await admit(a_principal())
    owner.start()
    await asyncio.to_thread(cluster.wait_until_ok)
    await settle_for_sure(first.lease, 5)

    assert store().xlen("{s3}:usage") == 1


def test_an_address_names_nodes_and_login():
    address = cluster_address("redis+cluster://me:p%40ss@one:7000,two")

    assert address is not None
    assert address.nodes == (("one", 7000), ("two", 6379))
    assert (address.username, address.password, address.secure) == ("me", "p@ss", False)
    assert cluster_address("redis://one:7000") is None


def test_an_address_without_a_host_is_refused():
    with pytest.raises(ImproperlyConfigured, match="host:port"):
        cluster_address("redis+cluster://:7000")


@pytest.mark.parametrize(
    ("given", "asked_for"),
    [
        ({}, "CELERY_BROKER_URL and CACHE_URL"),
        ({"CACHE_URL": "redis://c"}, "set CELERY_BROKER_URL too"),
    ],
)
def test_start_up_says_that_celery_and_the_cache_need_servers_of_their_own(given, asked_for):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CACHE_URL", "CELERY_BROKER_URL", "DJANGO_SETTINGS_MODULE")
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=HOME,
        env={**environment, "REDIS_URL": "redis+cluster://127.0.0.1:7000", **given},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert asked_for in done.stderr
