"""A request's whole way, in process, on the real PostgreSQL and Redis."""

from decimal import Decimal

import pytest

from tests.proxy.gateway import post
from tests.proxy.upstream import message, raw

pytestmark = pytest.mark.django_db(transaction=True)
EXACT = Decimal("0.003750")


async def test_a_call_costs_the_same_to_the_nano_dollar_in_header_ledger_and_roll_up(
    world, upstream_answering, books
):
    async with upstream_answering(raw(message())):
        answer = await post(world.key)

        seen = await books()

    assert answer.status == 200
    assert answer.body == message()
    assert Decimal(answer.headers["x-tenantry-cost-usd"]) == EXACT
    assert Decimal(answer.headers["x-tenantry-budget-remaining-usd"]) == 100 - EXACT
    assert seen.row.cost_usd == EXACT
    assert str(seen.row.request_id) == answer.headers["request-id"]
    assert [rollup.cost_usd for rollup in seen.rollups] == [EXACT]
    assert seen.balanced
    assert seen.reserved_usd == 0
