"""The six prices of one row of the price list."""

from decimal import Decimal

import pytest

from billing.prices.rates import CACHED, DEFAULT_RATES, PRICE_COLUMNS, Rates, with_cached_as_input
from tests.factories import ModelPriceFactory


def test_a_search_is_priced_by_the_thousand_and_tokens_by_the_million():
    nano = DEFAULT_RATES.nano()

    assert nano["input"] == 3_000_000_000
    assert nano["web_search"] == 10_000_000


def test_columns_are_those_of_the_price_list():
    assert set(DEFAULT_RATES.columns()) == set(PRICE_COLUMNS)
    assert DEFAULT_RATES.columns()["cache_read_usd"] == Decimal("0.3")


@pytest.mark.django_db
def test_a_row_is_read_by_its_columns():
    row = ModelPriceFactory(input_usd=Decimal(2), output_usd=Decimal(8))

    assert (Rates.of(row).input, Rates.of(row).output) == (Decimal(2), Decimal(8))


def test_what_nobody_priced_is_charged_as_plain_input():
    given = with_cached_as_input({"input_usd": "2", "cache_read_usd": "0.2", "cache_write_5m_usd": None})

    assert given["cache_read_usd"] == "0.2"
    assert {name: given[name] for name in CACHED if name != "cache_read_usd"} == {
        "cache_write_5m_usd": "2",
        "cache_write_1h_usd": "2",
    }


def test_a_cache_that_is_free_stays_free():
    assert with_cached_as_input({"input_usd": "2", "cache_read_usd": 0})["cache_read_usd"] == 0
