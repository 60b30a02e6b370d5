"""What a call costs."""

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from billing.prices.price_book import ModelNotPriced, Price, cost, price_book, with_margin
from billing.usage import Usage
from gateway_project.ground.money import NanoUSD
from tests.factories import ModelFactory, ModelPriceFactory

NANO = 1_000_000_000
SONNET = Price(
    id=1,
    effective_from=timezone.now(),
    context_over_tokens=0,
    input=NanoUSD(3 * NANO),
    output=NanoUSD(15 * NANO),
    cache_read=NanoUSD(3 * NANO // 10),
    cache_write_5m=NanoUSD(375 * NANO // 100),
    cache_write_1h=NanoUSD(6 * NANO),
    web_search=NanoUSD(NANO // 100),
)
counts = st.integers(0, 10_000_000)


def test_a_thousand_in_and_fifty_out_on_sonnet_cost_three_and_three_quarter_mills():
    assert cost(Usage(input_tokens=1000, output_tokens=50), SONNET) == 3_750_000


def test_a_thousand_searches_cost_ten_dollars():
    assert cost(Usage(web_searches=1000), SONNET) == 10 * NANO


@given(counts, counts, counts, counts, counts)
def test_cost_is_the_exact_sum_rounded_up_once(plain, output, read, short, long):
    exact = Fraction(
        plain * SONNET.input
        + output * SONNET.output
        + read * SONNET.cache_read
        + short * SONNET.cache_write_5m
        + long * SONNET.cache_write_1h,
        1_000_000,
    )

    assert 0 <= cost(Usage(plain, output, read, short, long), SONNET) - exact < 1


@given(st.integers(0, 10**13), st.decimals(-100, 1000, places=3))
def test_a_margin_is_added_exactly_and_rounded_up(nano, percent):
    exact = Fraction(nano) * (1 + Fraction(percent) / 100)

    assert 0 <= with_margin(nano, str(percent)) - exact < 1


@pytest.mark.django_db
class TestTheBook:
    def test_a_later_price_supersedes_from_its_date_on(self):
        model = ModelFactory()
        ModelPriceFactory(
            model=model, effective_from=timezone.now() - timedelta(days=9), input_usd=Decimal(3)
        )
        ModelPriceFactory(
            model=model, effective_from=timezone.now() + timedelta(days=9), input_usd=Decimal(4)
        )

        book = price_book("a")

        assert book.price_of(model.name).input == 3 * NANO
        assert book.price_of(model.name, at=timezone.now() + timedelta(days=10)).input == 4 * NANO

    def test_a_long_prompt_has_the_long_context_price(self):
        start = timezone.now() - timedelta(days=9)
        model = ModelFactory()
        ModelPriceFactory(model=model, effective_from=start, input_usd=Decimal(3))
        ModelPriceFactory(
            model=model, effective_from=start, context_over_tokens=200_000, input_usd=Decimal(6)
        )

        book = price_book("b")

        assert book.price_of(model.name, context=200_000).input == 3 * NANO
        assert book.price_of(model.name, context=200_001).input == 6 * NANO

    def test_an_alias_costs_what_its_model_costs(self):
        model = ModelFactory(aliases=["other-name"])
        ModelPriceFactory(model=model, effective_from=timezone.now() - timedelta(days=1))

        assert price_book("c").price_of("other-name") == price_book("c").price_of(model.name)

    def test_a_model_without_a_price_is_refused(self):
        with pytest.raises(ModelNotPriced):
            price_book("d").price_of("unknown")

    def test_an_explicit_default_row_prices_what_has_none(self):
        ModelPriceFactory(model=None, effective_from=timezone.now() - timedelta(days=1))

        assert price_book("e").price_of("unknown").default
