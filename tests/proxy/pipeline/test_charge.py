"""What a call is charged, from what its upstream reports: values in, values out."""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from billing.events import OVERRAN, UsageEvent
from billing.meter.lease import Lease, PricedCandidate
from billing.prices.price_book import ModelNotPriced, Price, PriceBook
from billing.usage import Usage
from gateway_project.ground.money import NanoUSD
from proxy.dialects.base import ParsedRequest, UsageReading
from proxy.pipeline.charge import (
    Judgement,
    charged,
    charged_as_held,
    judged,
    judged_broken_off,
    judged_unanswered,
)
from routing.choice import REQUESTED, Ask, Candidate, CatalogueModel, Change

SONNET = CatalogueModel(1, "sonnet", "claude-sonnet-4", "claude", 1_000, 500, None, None, True)
FREE = NanoUSD(0)
PRICE = Price(
    7, datetime(2026, 1, 1, tzinfo=UTC), 0, NanoUSD(3_000_000), NanoUSD(15_000_000), FREE, FREE, FREE, FREE
)
CHEAP = msgspec.structs.replace(PRICE, id=8, input=1_000_000, output=5_000_000)
PRICES = PriceBook(
    "t", {"sonnet": [PRICE], "haiku": [CHEAP]}, [msgspec.structs.replace(PRICE, id=9, default=True)]
)
# 300 bytes of prompt are 100 tokens by estimate; 200 tokens of output at most.
ASK = Ask("sonnet", 200, 1, False, 300, 300, 1, 0, "")
PARSED = ParsedRequest(ask=ASK, wants_usage=True, caches=False, tags={})


def a_lease(*, hold=10**9, budget=10**9, route=REQUESTED, preferred="", **model):
    served = msgspec.structs.replace(SONNET, **model)
    return Lease(
        request_id="r",
        tenant_id=1,
        hold_nano=hold,
        held_tokens=200,
        counters=("b", "k", "", ""),
        day_counter="d",
        offer=PricedCandidate(Candidate(served, route), 7, NanoUSD(0), NanoUSD(0), 200),
        max_tokens=200,
        clamped=False,
        event=UsageEvent("r", 1, 1, "", "", "", served.name, model_preferred=preferred, route=route.text),
        budgets=(budget, None, None, None),
        output_tokens=150,
    )


@pytest.mark.parametrize(
    ("reported", "usage", "note"),
    [
        ({"input_tokens": 12, "output_tokens": 5}, (12, 5), ""),
        ({"cache_read_tokens": 12, "output_tokens": 5}, (0, 5), ""),
        ({"output_tokens": 5}, (100, 5), "no input usage reported"),
        ({"input_tokens": 1_001, "output_tokens": 5}, (1_000, 5), "1001 input tokens exceed the context window"),
        ({"input_tokens": 12, "output_tokens": 201}, (12, 200), "201 output tokens exceed the requested maximum"),
        # A search reads the conversation once more, and answers once more.
        ({"input_tokens": 1_900, "output_tokens": 400, "web_searches": 1}, (1_900, 400), ""),
        (
            {"input_tokens": 2_001, "output_tokens": 401, "web_searches": 1},
            (2_000, 400),
            "2001 input tokens exceed the context window; 401 output tokens exceed the requested maximum",
        ),
    ],
)  # fmt: skip
def test_reported_usage_is_charged_as_far_as_it_can_be_true(reported, usage, note):
    judgement = judged(UsageReading(Usage(**reported)), PARSED, a_lease(), written=3)

    assert (judgement.usage.input_tokens, judgement.usage.output_tokens) == usage
    assert judgement.note == note


@pytest.mark.parametrize(("written", "output"), [(3, 3), (10_000, 200)])
def test_without_usage_the_prompt_is_estimated_and_the_output_counted_up_to_what_was_asked_for(
    written, output
):
    reading = UsageReading(Usage(), problem="usage is missing")

    assert judged(reading, PARSED, a_lease(), written=written) == Judgement(
        Usage(100, output), "usage is missing"
    )


def test_a_prompt_is_estimated_at_no_more_than_the_models_context():
    reading = UsageReading(Usage(output_tokens=1))

    assert judged(reading, PARSED, a_lease(context_window=40), written=0).usage.input_tokens == 40


def test_a_stream_that_broke_off_is_charged_what_passed_and_always_flagged():
    reading = UsageReading(Usage(input_tokens=12, output_tokens=1))

    judgement = judged_broken_off(reading, PARSED, a_lease(), written=30, why="the stream was interrupted")

    assert judgement == Judgement(Usage(12, 30), "the stream was interrupted")


@pytest.mark.parametrize(("elapsed_ms", "output"), [(0, 0), (1_000, 80), (60_000, 200)])
def test_without_an_answer_output_goes_by_the_clock(elapsed_ms, output):
    judgement = judged_unanswered(PARSED, a_lease(), elapsed_ms=elapsed_ms, why="the caller disconnected")

    assert judgement == Judgement(Usage(100, output), "the caller disconnected")


def charge_of(usage, lease=None, *, note="", margin="0", **answered):
    return charged(Judgement(usage, note), lease or a_lease(), PRICES, margin_percent=margin, **answered)


@pytest.mark.parametrize(
    ("answered_by", "model", "price", "note", "estimated"),
    [
        ("", "sonnet", 7, "", False),
        ("claude-sonnet-4", "sonnet", 7, "", False),
        ("haiku", "haiku", 8, "", False),
        ("made up", "sonnet", 7, "served by unknown model made up", False),
    ],
)
def test_the_model_that_served_is_priced_where_it_has_a_price(answered_by, model, price, note, estimated):
    charge = charge_of(Usage(1, 1), answered_by=answered_by)

    assert (charge.model, charge.price_id, charge.note, charge.estimated) == (model, price, note, estimated)


def test_the_sell_price_has_the_margin_and_the_cost_price_has_none():
    charge = charge_of(Usage(1_000, 100), margin="10")

    assert (charge.upstream_cost_nano, charge.cost_nano) == (4_500, 4_950)


def test_a_model_without_a_price_of_its_own_is_an_estimate():
    charge = charge_of(Usage(1, 1), a_lease(name="new"))

    assert (charge.price_id, charge.estimated) == (9, True)
    assert charge.note == "no price of its own: charged at the default price"


@pytest.mark.parametrize(("hold", "budget", "overrun"), [(4_500, 10**9, 0), (4_499, 10**9, 1), (0, None, 0)])
def test_what_passes_its_hold_is_charged_all_the_same_and_said(hold, budget, overrun):
    charge = charge_of(Usage(1_000, 100), a_lease(hold=hold, budget=budget), note="doubt")

    assert (charge.cost_nano, charge.overrun_nano) == (4_500, overrun)
    assert charge.note == (f"{OVERRAN} by 0.000000001 USD; doubt" if overrun else "doubt")


@pytest.mark.parametrize(
    ("route", "saved"),
    [(REQUESTED.then(Change.DOWNGRADED), 3_000), (REQUESTED.then(Change.FALLBACK), 0), (REQUESTED, 0)],
)
def test_only_a_downgrade_saves(route, saved):
    lease = a_lease(name="haiku", route=route, preferred="sonnet")

    assert charge_of(Usage(1_000, 100), lease).saved_nano == saved


def test_a_price_that_is_for_longer_prompts_alone_is_none():
    long_only = PriceBook("t", {"sonnet": [msgspec.structs.replace(PRICE, context_over_tokens=50)]}, [])

    with pytest.raises(ModelNotPriced):
        charged(Judgement(Usage(10, 1)), a_lease(), long_only, margin_percent="0")


def test_what_cannot_be_priced_is_charged_at_its_hold():
    charge = charged_as_held(a_lease(hold=4_321))

    assert (charge.cost_nano, charge.upstream_cost_nano, charge.usage) == (
        4_321,
        4_321,
        Usage(output_tokens=150),
    )
    assert charge.estimated


def test_a_note_fits_its_column():
    assert len(charge_of(Usage(1, 1), note="x" * 600).note) == 500


def test_amounts_are_whole_nano_dollars():
    assert charge_of(Usage(1, 0), margin="33.333").cost_nano == Decimal(4)
