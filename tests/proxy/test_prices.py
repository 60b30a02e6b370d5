"""What a call is charged: its model's price, the default row's or none, and the margin on top."""

from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from tenants.models import AllowedModel
from tests.factories import ModelFactory, ModelPriceFactory
from tests.proxy.gateway import post
from tests.proxy.scripted_upstream import message, raw

pytestmark = pytest.mark.django_db(transaction=True)


def allow_unpriced(world):
    AllowedModel.objects.create(tenant=world.tenant, model=ModelFactory(name="claude-new"))


async def test_a_model_without_a_price_is_refused_before_anything_is_called(world, upstream_answering, books):
    await sync_to_async(allow_unpriced)(world)
    async with upstream_answering(raw(message())) as upstream:
        answer = await post(world.key, model="claude-new")
        seen = await books()

    assert (answer.status, answer.headers["x-should-retry"]) == (404, "false")
    assert "no price yet" in answer.error["message"]
    assert (upstream.asked, seen.rows) == ([], [])


async def test_what_the_default_row_prices_is_flagged_as_estimated(world, upstream_answering, books):
    await sync_to_async(allow_unpriced)(world)
    await sync_to_async(ModelPriceFactory)(model=None)
    async with upstream_answering(raw(message(model="claude-new"))):
        answer = await post(world.key, model="claude-new")
        seen = await books()

    assert answer.status == 200
    assert seen.row.cost_usd == Decimal("0.003750")
    assert seen.row.estimated
    assert "default price" in seen.row.note


@pytest.mark.parametrize("whose", ["tier", "tenant"])
async def test_budgets_run_on_the_sell_price_and_the_row_has_the_cost_price_too(
    world, upstream_answering, books, whose
):
    def add_margin():
        world.tenant.tier.margin_percent = Decimal(20 if whose == "tier" else 5)
        world.tenant.tier.save()
        world.with_limits(margin_percent=None if whose == "tier" else Decimal(20))

    await sync_to_async(add_margin)()
    async with upstream_answering(raw(message())):
        answer = await post(world.key)
        seen = await books()

    assert (seen.row.upstream_cost_usd, seen.row.cost_usd) == (Decimal("0.003750"), Decimal("0.004500"))
    assert Decimal(answer.headers["x-tenantry-budget-remaining-usd"]) == 100 - Decimal("0.0045")
    assert seen.balanced
