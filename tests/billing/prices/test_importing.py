"""List prices from genai-prices: shown first, written once, and the same to the nano-dollar."""

import io
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal

import genai_prices
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from genai_prices import data_snapshot
from genai_prices import types as genai
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.models import ModelPrice
from billing.prices.importing import PROVIDERS, propose, rows_of
from billing.prices.price_book import Price, PriceBook, cost, price_book
from billing.usage import Usage
from tests.factories import ModelFactory, ModelPriceFactory

NANO = Decimal("1e-9")
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def text_models():
    """Every model of the four providers that has a price of text, with its context tiers and dates."""
    providers = {provider.id: provider for provider in data_snapshot.get_snapshot().providers}
    return [
        (provider, model)
        for name in PROVIDERS.values()
        for provider in [providers[name]]
        for model in provider.models
        if rows_of(model.get_prices(NOW))
    ]


def our_book(info):
    rows = rows_of(info.get_prices(NOW))

    def nano(usd):
        return int(usd * 10**9)

    prices = [
        Price(
            id=number,
            effective_from=NOW - timedelta(days=1),
            context_over_tokens=row.over or 0,
            input=nano(row.rates.input),
            output=nano(row.rates.output),
            cache_read=nano(row.rates.cache_read),
            cache_write_5m=nano(row.rates.cache_write_5m),
            cache_write_1h=nano(row.rates.cache_write_1h),
            web_search=nano(row.rates.web_search) // 1000,
        )
        for number, row in enumerate(rows)
    ]
    return PriceBook(token="", prices={"m": prices}, default=[])


# Nothing, a little, and both sides of every context tier there is.
EDGES = [0, 1, 199_999, 200_000, 200_001, 271_999, 272_000, 272_001]
counts = st.one_of(st.sampled_from(EDGES), st.integers(0, 300_000))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(text_models()), counts, counts, counts, counts, counts, st.integers(0, 20))
def test_our_cost_is_what_genai_prices_own_calculator_says(found, plain, output, read, short, long, searches):
    provider, info = found
    usage = Usage(plain, output, read, short, long, searches)
    context = plain + read + short + long
    theirs = info.calc_price(
        genai.Usage(
            input_tokens=context,
            output_tokens=output,
            cache_read_tokens=read,
            cache_write_tokens=short + long,
            cache_write_1h_tokens=long,
            web_searches=searches,
        ),
        provider,
        genai_request_timestamp=NOW,
    ).total_price

    ours = cost(usage, our_book(info).price_of("m", at=NOW, context=context))

    assert ours == (theirs / NANO).to_integral_value(ROUND_CEILING)


@pytest.mark.parametrize("tier", [200_000, 272_000])
def test_the_grid_has_the_context_tiers_the_package_has(tier):
    assert any(row.over == tier for _, info in text_models() for row in rows_of(info.get_prices(NOW)))


def run(*arguments):
    out = io.StringIO()
    call_command("import_prices", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
class TestImporting:
    def test_a_diff_is_shown_and_nothing_written_until_it_is_applied(self):
        model = ModelFactory(name="claude-sonnet-4-20250514")

        shown = run()

        assert "input: none -> 3" in shown
        assert "Nothing written" in shown
        assert not ModelPrice.objects.exists()

        assert "1 rows written" in run("--apply")
        row = ModelPrice.objects.get(model=model)
        assert [row.input_usd, row.cache_write_1h_usd] == [3, 6]
        assert row.source == f"genai-prices {genai_prices.__version__} anthropic/claude-sonnet-4-0"

    def test_a_second_import_finds_nothing_to_do(self):
        ModelFactory(name="claude-sonnet-4-5", family="claude")
        run("--apply")

        assert "0 rows written" in run("--apply")
        assert ModelPrice.objects.count() == 2  # the plain price, and the one of long inputs

    def test_a_long_prompt_costs_its_tiers_price_once_imported(self):
        ModelFactory(name="claude-sonnet-4-5")
        run("--apply", "--from", "2024-01-01")

        book = price_book("imported")

        at = [book.price_of("claude-sonnet-4-5", context=tokens).input for tokens in (200_000, 200_001)]
        assert at == [3_000_000_000, 6_000_000_000]

    def test_a_name_of_ezais_own_is_found_by_its_alias(self):
        model = ModelFactory(name="sonnet", upstream_name="ezai-sonnet-prime", aliases=["claude-sonnet-4-0"])
        unknown = ModelFactory(name="mystery")

        shown = run("--apply")

        assert ModelPrice.objects.get().model == model
        assert f"give the model an alias, or enter a price): {unknown.name}" in shown

    def test_a_price_of_staffs_is_left_unless_its_model_is_named(self):
        model = ModelFactory(name="claude-sonnet-4-0")
        ModelPriceFactory(model=model, input_usd=Decimal("2.4"), source="contract 7")

        assert "Entered by staff, unchanged" in run("--apply")
        assert ModelPrice.objects.count() == 1
        assert "input: 2.4 -> 3" in run("claude-sonnet-4-0", "--apply")
        assert ModelPrice.objects.count() == 2

    def test_a_model_of_vectors_has_no_price_of_output(self):
        ModelFactory(name="text-embedding-3-small", family="gpt", embeds=True)
        run("--apply")
        row = ModelPrice.objects.get()
        assert (row.input_usd, row.output_usd) == (Decimal("0.02"), 0)

    def test_a_change_the_package_knows_the_date_of_is_written_ahead(self):
        model = ModelFactory(name="gemini-4-argon", family="gemini")

        [now, later] = propose([model], starting=NOW).changes

        assert (now.effective_from, later.effective_from) == (NOW, datetime(2026, 12, 1, tzinfo=UTC))
        assert later.before == now.rows
        assert later.rows[0].rates.input == 2 * now.rows[0].rates.input

    def test_a_slip_of_units_is_not_written_until_it_is_confirmed(self):
        model = ModelFactory(name="claude-sonnet-4-0")
        ModelPriceFactory(model=model, input_usd=300, source="genai-prices 0")
        ModelFactory(name="claude-opus-4-0")

        with pytest.raises(CommandError, match=r"--confirm claude-sonnet-4-0$"):
            run("--apply")
        assert ModelPrice.objects.filter(model=model).count() == 1
        assert ModelPrice.objects.count() == 2  # the other model's price is in
        run("--apply", "--confirm", "claude-sonnet-4-0")
        assert price_book("confirmed").price_of("claude-sonnet-4-0").input == 3_000_000_000

    def test_the_default_row_is_written_once_and_on_demand_only(self):
        run("--apply")
        assert not ModelPrice.objects.exists()
        run("--apply", "--default")
        run("--apply", "--default")

        row = ModelPrice.objects.get()
        assert (row.model, row.input_usd, row.output_usd) == (None, 3, 15)
        assert row.effective_from <= timezone.now()
