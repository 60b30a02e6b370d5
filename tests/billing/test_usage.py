"""Token kinds are defined once: whatever counts or prices them has all of them."""

import msgspec
import pytest

from billing.events import UsageEvent
from billing.exports import export
from billing.ledger.posting import ledger_row
from billing.ledger.roll_up import KEYS, SUMS
from billing.models import DailyUsage, ModelPrice, Statement, UsageRecord
from billing.prices.price_book import Price, cost
from billing.prices.rates import CACHED, PRICE_COLUMNS, Rates
from billing.request_ids import new_request_id
from billing.usage import COUNTS, PRICE_OF, TOKENS, Usage
from gateway_project.api.usage import FIELDS

MILLION = 1_000_000


def columns_of(model):
    return {field.column for field in model._meta.concrete_fields}


def an_event(**values):
    event = {"request_id": new_request_id(), "tenant_id": 1, "key_id": 2, "day": "2026-03-09"}
    return UsageEvent(**{**event, "period_start": "2026-03-01", "wire": "openai", "model": "m", **values})


@pytest.mark.parametrize(
    "known",
    [
        columns_of(UsageRecord), columns_of(DailyUsage), columns_of(Statement), set(SUMS), set(export.COLUMNS),
        set(FIELDS),
    ],
    ids=["ledger", "daily roll-up", "statement", "drain's sums", "export", "api"],
)  # fmt: skip
def test_every_kind_has_a_column_of_its_name(known):
    assert set(COUNTS) <= known


def test_every_kind_has_a_price():
    assert set(PRICE_OF) == set(COUNTS)
    assert set(PRICE_OF.values()) == set(Rates.__struct_fields__) <= set(Price.__struct_fields__)
    assert set(PRICE_COLUMNS) <= columns_of(ModelPrice)
    assert CACHED == ("cache_read_usd", "cache_write_5m_usd", "cache_write_1h_usd")


@pytest.mark.parametrize("kind", COUNTS)
def test_every_kind_is_charged_at_its_own_price(kind):
    free = dict.fromkeys(PRICE_OF.values(), 0)
    per = 1 if kind == "web_searches" else MILLION
    price = msgspec.convert(
        {
            "id": 1, "effective_from": "2026-01-01T00:00:00Z", "context_over_tokens": 0,
            **free, PRICE_OF[kind]: 7 * per,
        },
        Price,
    )  # fmt: skip

    assert cost(Usage(**dict.fromkeys(COUNTS, 3)), price) == 21


def test_the_total_is_of_every_token_kind_and_of_nothing_else():
    usage = Usage(**{name: 10**place for place, name in enumerate(COUNTS)})

    assert usage.total_tokens == sum(getattr(usage, name) for name in TOKENS) == 11111


def test_a_ledger_row_has_every_column_but_the_databases_own():
    assert set(ledger_row(an_event())) == columns_of(UsageRecord) - {"recorded_at"}


def test_the_drain_writes_every_column_of_the_roll_up_but_its_histograms():
    others = {"id", "latency_buckets", "ttft_buckets"}

    assert {*KEYS, *SUMS} == columns_of(DailyUsage) - others


def test_a_column_is_what_the_event_says():
    usage = Usage(**{name: number for number, name in enumerate(COUNTS, 1)})

    row = ledger_row(an_event(usage=usage, cost_nano=5, end_user="a\0b", keyword="k" * 200))

    assert {name: row[name] for name in COUNTS} == msgspec.structs.asdict(usage)
    assert (str(row["cost_usd"]), row["end_user"], len(row["keyword"])) == ("5E-9", "ab", 100)
