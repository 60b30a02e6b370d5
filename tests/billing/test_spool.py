"""What Redis did not take before a process ended is delivered by the next one, once."""

import fcntl
import stat

import pytest
from asgiref.sync import sync_to_async

from billing import spool
from billing.meter import heartbeat as module
from billing.meter.errors import MeteringUnavailable
from billing.meter.reaper import Reaper
from billing.models import Adjustment, UsageRecord
from gateway_project.ground.redis_keys import shard_of
from tests.billing.meter.test_admission import DOLLAR
from tests.billing.meter.test_heartbeat import admitted, books_of, costing, tenant
from tests.meters import meter

__all__ = ["tenant"]
pytestmark = pytest.mark.django_db(transaction=True)
COST = 5_000


@pytest.fixture(autouse=True)
def data(settings, tmp_path):
    settings.DATA_DIR = tmp_path
    return tmp_path / "unsettled"


async def kept(tenant):
    """A call that was answered and could not be settled."""
    admission = await admitted(tenant)
    spool.keep([(admission.lease, costing(COST))])
    meter().journal.clear()  # another process
    return admission.lease


async def all_costs(tenant):
    def read():
        rows = sum(row.cost_usd for row in UsageRecord.objects.all())
        return rows + sum(each.amount_usd for each in Adjustment.objects.all())

    book, _ = await books_of(tenant)
    return book, int(await sync_to_async(read)() * DOLLAR)


async def test_the_next_start_settles_it_exactly(tenant, data, heartbeat):
    await kept(tenant)

    assert await spool.deliver(heartbeat)
    book, cost = await all_costs(tenant)

    assert cost == COST
    assert (book.ok, book.reserved_usd) == (True, 0)
    assert not list(data.glob("*"))


async def test_only_the_owner_can_read_it(tenant, data):
    await kept(tenant)
    [file] = data.glob("*")

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


@pytest.mark.parametrize("drained", [True, False])
async def test_twice_delivered_is_booked_once(tenant, data, redis_server, drained, heartbeat):
    lease = await kept(tenant)
    [file] = data.glob("*")
    again = file.read_bytes()
    await spool.deliver(heartbeat)
    if drained:
        await books_of(tenant)
    # Longer ago than a tombstone lasts.
    redis_server.delete(f"{{s{shard_of(tenant.pk)}}}:done:{lease.request_id}")
    file.write_bytes(again)

    assert await spool.deliver(heartbeat)
    book, cost = await all_costs(tenant)

    assert cost == COST
    assert book.ok


@pytest.mark.parametrize("tombstone", [True, False])
async def test_what_was_reaped_meanwhile_costs_in_the_end_what_it_did(
    tenant, data, redis_server, tombstone, heartbeat
):
    lease = await kept(tenant)
    assert await Reaper(meter()).reap(dead_after=-1) == 1
    await books_of(tenant)
    if not tombstone:
        redis_server.delete(f"{{s{shard_of(tenant.pk)}}}:done:{lease.request_id}")

    assert await spool.deliver(heartbeat)
    book, cost = await all_costs(tenant)

    assert cost == COST
    assert book.reserved_usd == 0


async def test_after_a_flush_it_is_in_the_ledger_all_the_same(tenant, data, redis_server, heartbeat):
    await kept(tenant)
    redis_server.flushall()
    await heartbeat.beat("w")

    assert await spool.deliver(heartbeat)
    _, cost = await all_costs(tenant)

    assert cost == COST


async def test_while_a_store_is_away_it_stays(tenant, data, monkeypatch, heartbeat):
    await kept(tenant)

    async def away(settles):
        raise MeteringUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(heartbeat, "deliver", away)
        assert not await spool.deliver(heartbeat)

    assert len(list(data.glob("*.msgpack"))) == 1
    assert await spool.deliver(heartbeat)
    assert (await all_costs(tenant))[1] == COST


async def test_without_a_database_nothing_is_settled_by_guess(tenant, data, monkeypatch, heartbeat):
    await kept(tenant)
    monkeypatch.setattr(module, "_booked_status", lambda ids: None)

    assert not await spool.deliver(heartbeat)
    assert len(list(data.glob("*.msgpack"))) == 1


async def test_what_another_process_delivers_is_left_to_it(tenant, data, heartbeat):
    await kept(tenant)
    [file] = data.glob("*")
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not await spool.deliver(heartbeat)

    assert await spool.deliver(heartbeat)


async def test_a_file_that_cannot_be_read_is_set_aside(tenant, data, heartbeat):
    data.mkdir()
    (data / "broken.msgpack").write_bytes(b"\x00nonsense")

    assert await spool.deliver(heartbeat)
    assert [file.name for file in data.glob("*")] == ["broken.unreadable"]
