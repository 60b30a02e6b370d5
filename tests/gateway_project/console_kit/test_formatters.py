"""How money, counts, shares and moments are shown."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from gateway_project.console_kit import formatters


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "–"),
        (Decimal(0), "$0.00"),
        (Decimal(500), "$500.00"),
        (Decimal("0.00375"), "$0.00375"),
        (Decimal(-3), "-$3.00"),
        (Decimal("1234567.891"), "$1,234,567.89"),
        (Decimal("0.000000001"), "$0.000000001"),
    ],
)
def test_an_amount_has_as_many_places_as_say_something(amount, shown):
    assert formatters.usd(amount) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "–"),
        (Decimal("0.004"), "<$0.01"),
        (Decimal(0), "$0.00"),
        (Decimal("1234.5"), "$1,234.50"),
        (Decimal(-2), "-$2.00"),
    ],
)
def test_a_headline_has_cents_alone(amount, shown):
    assert formatters.short_usd(amount) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (None, "–"),
        (9_999, "9,999"),
        (10_000, "10.0k"),
        (1_200_000, "1.2M"),
        (3_000_000_000, "3.0B"),
    ],
)
def test_a_large_number_is_shortened(number, shown):
    assert formatters.short_count(number) == shown


@pytest.mark.parametrize(
    ("spent", "budget", "share"),
    [
        (Decimal(1), None, None),
        (Decimal("0.999"), Decimal(1), 99),
        (Decimal(3), Decimal(2), 150),
        (Decimal(0), Decimal(0), 0),
        (Decimal(1), Decimal(0), 100),
    ],
)
def test_a_share_is_rounded_down_so_that_100_means_spent(spent, budget, share):
    assert formatters.percent(spent, budget) == share


def test_a_bar_never_leaves_its_box():
    assert 'width="100%"' in formatters.bar(spent=Decimal(9), budget=Decimal(1))


def test_a_forecast_over_the_budget_stands_out():
    over = formatters.budget_bar(spent=Decimal(1), budget=Decimal(2), forecast=Decimal(3))
    within = formatters.budget_bar(spent=Decimal(1), budget=Decimal(2), forecast=Decimal(2))

    assert "c-over" in over
    assert "c-over" not in within


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        (timedelta(seconds=10), "now"),
        (timedelta(minutes=5, seconds=5), "5 min ago"),
        (timedelta(hours=3, seconds=5), "3 h ago"),
        (timedelta(days=2, seconds=5), "2 d ago"),
        (timedelta(minutes=-5, seconds=-5), "in 5 min"),
    ],
)
def test_a_moment_is_told_from_now(before, shown):
    assert f">{shown}</time>" in str(formatters.ago(timezone.now() - before))


@pytest.mark.parametrize(("value", "shown"), [(None, "–"), (999, "999 ms"), (1500, "1.5 s")])
def test_a_second_or_more_is_shown_in_seconds(value, shown):
    assert formatters.milliseconds(value) == shown
