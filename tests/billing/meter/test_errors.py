"""Refusals of the meter: whether and when the same call may pass later."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing.meter.errors import (
    BudgetExceeded,
    ConcurrencyLimited,
    DailyTokensExceeded,
    DowngradeDeclined,
    MeteringUnavailable,
    RateLimited,
    UserRateLimited,
)

SPENT: dict[str, Any] = {"scope": "key", "spend_usd": Decimal("9.50"), "budget_usd": Decimal(10)}


@pytest.mark.parametrize(("retry_ms", "seconds"), [(0, 1), (1, 1), (1000, 1), (1001, 2)])
def test_a_wait_is_rounded_up_to_whole_seconds(retry_ms, seconds):
    error = RateLimited("Too many.", retry_ms=retry_ms)

    assert error.headers["retry-after"] == str(seconds)
    assert error.details["retry_after"] == seconds


def test_each_limit_has_a_code_of_its_own():
    codes = [kind("x", retry_ms=1).code for kind in (RateLimited, UserRateLimited, ConcurrencyLimited)]

    assert codes == ["rate_limited", "user_rate_limited", "concurrency_limited"]


def test_a_days_tokens_are_not_worth_another_try():
    error = DailyTokensExceeded(limit=1000, seconds=23_173)

    assert error.status == 429
    assert error.headers == {"retry-after": "23173", "x-should-retry": "false"}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(59, "59 s"), (60, "1 min"), (61, "2 min"), (3600, "1 h 0 min"), (23_173, "6 h 27 min")],
)
def test_the_wait_for_the_next_day_is_for_people(seconds, said):
    assert f"It resets in {said}." in DailyTokensExceeded(limit=1000, seconds=seconds).message


def test_a_budget_says_whose_it_is_what_is_spent_and_when_it_resets():
    error = BudgetExceeded(**SPENT, resets_at=datetime(2026, 7, 1, tzinfo=UTC))

    assert error.status == 402
    assert error.headers == {"x-should-retry": "false"}
    assert error.details == {
        "scope": "key",
        "spend_usd": "9.50",
        "budget_usd": "10",
        "resets_at": "2026-07-01T00:00:00Z",
    }


def test_a_budget_that_never_resets_says_so():
    assert BudgetExceeded(**SPENT, resets_at=None).details["resets_at"] is None


def test_a_caller_that_declined_a_cheaper_model_reads_why():
    error = DowngradeDeclined(**SPENT, resets_at=None)

    assert error.code == "budget_exceeded"
    assert "x-tenantry-no-downgrade" in error.message


def test_while_metering_is_away_the_caller_may_try_again():
    assert MeteringUnavailable().headers == {"retry-after": "1"}
