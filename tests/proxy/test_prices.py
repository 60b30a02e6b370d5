"""What a call is charged: its model's price, the default row's or none, and the margin on top."""

from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from routing.models import Model
from tenants.models import AllowedModel
from tests.factories import ModelFactory, ModelPriceFactory
from tests.proxy.gateway import finished, post
from tests.proxy.scripted_upstream import message, raw

pytestmark = pytest.mark.django_db(transaction=True)


def allow_unpriced(world):
    AllowedModel.objects.create(tenant=world.tenant, model=ModelFactory(name="claude-new"))


async def test_a_model_without_a_price_is_refused_before_anything_is_called(world, upstream_answering, books):
    await sync_to_async(allow_unpriced)(world)
    async with upstream_answering(raw(message())) as upstream:
        answer = await post(world.key, model="claude-new")
        seen = await books()

    assert answer.status == 403
    assert "no price yet" in answer.error["message"]
    assert (upstream.asked, seen.rows) == ([], [])


async def test_it_names_the_models_that_are_allowed_and_have_a_price(world, upstream_answering):
    await sync_to_async(allow_unpriced)(world)
    async with upstream_answering(raw(message())):
        answer = await post(world.key, model="claude-new")

    assert (answer.error["type"], answer.error["code"]) == ("permission_error", "model_not_allowed")
    assert answer.error["allowed"] == ["claude-opus-4-20250514", "claude-sonnet-4-20250514"]
    assert "claude-opus-4-20250514, claude-sonnet-4-20250514" in answer.error["message"]


@pytest.mark.parametrize("headers", [{}, {"x-tenantry-no-downgrade": "1"}], ids=["", "no downgrade"])
async def test_a_cheaper_model_without_a_price_is_no_rung_of_the_ladder(
    world, upstream_answering, books, headers
):
    def downgrade_to_unpriced():
        allow_unpriced(world)
        world.sonnet.downgrade_to = Model.objects.get(name="claude-new")
        world.sonnet.save()
        world.with_limits(monthly_budget_usd=Decimal("0.008"), downgrade_percent=40)

    await sync_to_async(downgrade_to_unpriced)()
    async with upstream_answering(raw(message())):
        first = await post(world.key, max_tokens=60)
        await finished()
        # This one begins at 47 % of the budget, where a cheaper model would be due.
        answers = [first, await post(world.key, max_tokens=60, headers=headers)]
        seen = await books()

    assert [answer.status for answer in answers] == [200, 200]
    assert {row.model for row in seen.rows} == {world.sonnet.name}


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
