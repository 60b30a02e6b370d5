"""A call that costs more than was reserved for it is charged whole, noted, counted and shown."""

from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from billing.events import OVERRAN
from billing.meter.overruns import recent_overruns
from tests.proxy.conftest import books as books  # a fixture
from tests.proxy.conftest import upstream_answering as upstream_answering  # a fixture
from tests.proxy.conftest import world as world  # a fixture
from tests.proxy.gateway import post
from tests.proxy.scripted_upstream import message, raw

pytestmark = pytest.mark.django_db(transaction=True)


async def test_it_is_posted_whole_and_noted(world, upstream_answering, books):
    async with upstream_answering(raw(message(input_tokens=5_000, output_tokens=50))):
        answer = await post(world.key)
        seen = await books()

    assert answer.status == 200
    assert seen.row.cost_usd == Decimal("0.01575")
    assert seen.row.note.startswith(f"{OVERRAN} by 0.0")
    assert not seen.row.estimated
    assert seen.balanced


async def test_it_is_counted_for_the_first_page(world, upstream_answering, books, staff_page):
    async with upstream_answering(raw(message(input_tokens=5_000, output_tokens=50))):
        for _ in range(2):
            await post(world.key)
        await books()

    assert recent_overruns().calls == 2
    assert Decimal("0.02") < recent_overruns().usd < Decimal("0.0315")
    assert "over by $0.0" in await sync_to_async(staff_page)()


async def test_what_fits_is_not(world, upstream_answering, books):
    async with upstream_answering(raw(message(input_tokens=10, output_tokens=50))):
        await post(world.key)
        seen = await books()

    assert recent_overruns().calls == 0
    assert seen.row.note == ""


async def test_without_a_budget_there_is_nothing_to_pass(world, upstream_answering, books):
    world.tenant.tier.monthly_budget_usd = None
    await sync_to_async(world.tenant.tier.save)()
    async with upstream_answering(raw(message(input_tokens=5_000, output_tokens=50))):
        await post(world.key)
        await books()

    assert recent_overruns().calls == 0


@pytest.fixture
def staff_page(client, django_user_model):
    def read():
        client.force_login(django_user_model.objects.create_superuser("root", password="x"))
        return client.get("/admin/").content.decode()

    return read
