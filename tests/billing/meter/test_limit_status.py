"""How close a tenant is to its limits, read and never written."""

import pytest

from billing.meter.lease import Run
from billing.meter.limit_status import limit_status
from gateway_project.ground.money import NanoUSD
from tests.billing.meter.test_admission import a_principal, admit, an_offer, settled
from tests.billing.meter.test_admission import ready as ready  # a fixture
from tests.meters import meter

pytestmark = pytest.mark.django_db(transaction=True)


async def test_it_says_what_is_open_held_and_spent(ready):
    principal = a_principal(requests_per_minute=10, monthly_budget_nano=1000)
    await settled(principal, 300)
    await admit(principal, an_offer(hold=200))

    found = await limit_status(meter(), principal)

    assert (found.requests_used, found.open_calls) == (2, 1)
    [tenant] = [each for each in found.budgets if each.scope == "tenant"]
    assert (tenant.budget_nano, tenant.spent_nano, tenant.held_nano) == (1000, 300, 200)


async def test_asking_counts_as_no_request(ready):
    principal = a_principal(requests_per_minute=10)

    await limit_status(meter(), principal)
    found = await limit_status(meter(), principal)

    assert (found.requests_used, found.open_calls) == (0, 0)


async def test_a_run_has_a_budget_of_its_own(ready):
    found = await limit_status(meter(), a_principal(), run=Run("nightly", NanoUSD(500)))

    assert [(each.scope, each.budget_nano) for each in found.budgets] == [("tenant", None), ("run", 500)]
