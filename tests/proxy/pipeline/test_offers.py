"""Candidates with their price."""

from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from routing.models import Model
from tests.proxy.gateway import finished, post
from tests.proxy.scripted_upstream import message, raw
from tests.proxy.test_prices import allow_unpriced

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_run_and_tags_are_checked(world, upstream_answering, books):
    async with upstream_answering(raw(message())):
        good = await post(
            world.key,
            headers={
                "x-tenantry-run-id": "run-1",
                "x-tenantry-run-max-usd": "0.05",
                "x-tenantry-tags": "feature=summarize,team=a",
            },
        )
        seen = await books()
        bad = [
            await post(world.key, headers=headers)
            for headers in (
                {"x-tenantry-run-max-usd": "1"},
                {"x-tenantry-run-id": "r", "x-tenantry-run-max-usd": "-1"},
                {"x-tenantry-run-id": "r", "x-tenantry-run-max-usd": "NaN"},
                {"x-tenantry-run-id": "r" * 300},
                {"x-tenantry-tags": "feature"},
            )
        ]
        poor = await post(
            world.key, headers={"x-tenantry-run-id": "r2", "x-tenantry-run-max-usd": "0.000001"}
        )

    assert good.status == 200
    assert (seen.row.run_id, seen.row.tags) == ("run-1", {"feature": "summarize", "team": "a"})
    assert [answer.status for answer in bad] == [400] * 5
    assert (poor.status, poor.error["scope"]) == (402, "run")


async def test_it_names_the_models_that_are_allowed_and_have_a_price(world, upstream_answering):
    await sync_to_async(allow_unpriced)(world)
    async with upstream_answering(raw(message())):
        answer = await post(world.key, model="claude-new")

    assert (answer.error["type"], answer.error["code"]) == ("not_found_error", "model_not_allowed")
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
