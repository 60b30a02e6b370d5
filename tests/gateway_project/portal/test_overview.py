"""The portal's first page."""

from datetime import date
from decimal import Decimal
from functools import partial

import pytest

from gateway_project.portal.overview import pace
from tests.gateway_project.portal.test_access import acme as acme  # a fixture
from tests.gateway_project.portal.test_access import as_role as as_role  # a fixture

pytestmark = pytest.mark.django_db


def test_the_forecast_says_when_the_budget_ends(as_role, acme):
    tenant = acme["tenant"]
    pace_of = partial(pace, tenant, budget=Decimal(100), period=date(2026, 9, 1))
    assert (
        pace_of(spent=Decimal(40), expected=Decimal(80))
        == "At the current pace, $80.00 by the end of the period."
    )
    assert (
        pace_of(spent=Decimal(40), expected=Decimal(200))
        == "At the current pace, the budget runs out on 16 September."
    )
    assert pace_of(spent=Decimal(100), expected=Decimal(200)) == "The budget is used up."
