"""What all calls of one principal have in common, and how long that holds."""

from datetime import UTC, datetime

import pytest

from billing.meter.prepared_policy import PreparedPolicies, limit_of
from gateway_project.ground.redis_keys import PREPAID_COUNTER
from tenants.policy import BudgetMode, KeyPolicy
from tests.billing.meter.test_admission import a_principal

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC).timestamp()
NEXT_DAY = NOON + 86_400


def test_it_is_prepared_anew_when_the_day_has_turned():
    principal = a_principal()

    today, tomorrow = PreparedPolicies().of(principal, at=NOON), PreparedPolicies().of(principal, at=NEXT_DAY)

    assert (today.day.name, tomorrow.day.name) == ("2026-06-10", "2026-06-11")
    assert today.day_counter != tomorrow.day_counter


def test_within_a_day_a_principal_is_prepared_once():
    principal = a_principal()

    policies = PreparedPolicies()

    assert policies.of(principal) is policies.of(principal)


def test_the_day_is_the_tenants_own():
    tokyo = a_principal(timezone="Asia/Tokyo").policy
    evening = datetime(2026, 6, 10, 20, tzinfo=UTC).timestamp()

    assert PreparedPolicies().spans(tokyo, at=evening)[1].name == "2026-06-11"


@pytest.mark.parametrize(
    ("mode", "budget"), [(BudgetMode.HARD, 500), (BudgetMode.SOFT, None), (BudgetMode.PREPAID, 500)]
)
def test_a_soft_budget_limits_nothing(mode, budget):
    prepared = PreparedPolicies().of(a_principal(budget_mode=mode, monthly_budget_nano=500), at=NOON)

    assert prepared.budgets[0] == budget


def test_a_prepaid_balance_has_one_counter_for_all_periods():
    prepared = PreparedPolicies().of(a_principal(budget_mode=BudgetMode.PREPAID), at=NOON)

    assert prepared.counters("", "")[0] == PREPAID_COUNTER


def test_counters_are_kept_of_end_users_and_runs_that_are_named():
    prepared = PreparedPolicies().of(a_principal(), at=NOON)

    assert prepared.counters("", "")[2:] == ("", "")
    assert all(prepared.counters("ann", "nightly")[2:])


def test_where_nothing_is_limited_the_tenants_own_hash_stands_in_for_the_window():
    without = PreparedPolicies().of(a_principal(), at=NOON).keys("ann", "", "")
    key = KeyPolicy(3, "main", "tn_x", None, None, 5, None)
    limited = (
        PreparedPolicies().of(a_principal(key=key, user_requests_per_minute=5), at=NOON).keys("ann", "", "")
    )

    assert without.user_window == without.key_window == without.tenant
    assert len({limited.user_window, limited.key_window, limited.tenant}) == 3


def test_alerts_are_due_at_shares_of_the_budget():
    assert (
        PreparedPolicies().of(a_principal(monthly_budget_nano=1000), at=NOON).alert_lines
        == "80:800,90:900,100:1000"
    )
    assert PreparedPolicies().of(a_principal(), at=NOON).alert_lines == ""


def test_no_limit_is_minus_one_for_the_scripts_and_zero_is_a_limit():
    assert (limit_of(None), limit_of(0)) == (-1, 0)
