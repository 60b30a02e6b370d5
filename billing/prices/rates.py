"""The six prices of one row of the price list."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Self

import msgspec

from billing.models import ModelPrice
from billing.usage import PRICE_OF
from gateway_project.ground.money import NanoUSD, to_nano


class Rates(msgspec.Struct, frozen=True):
    """USD per 1M tokens, and for `web_search` per 1000 searches. Each field is the column `<field>_usd`."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    web_search: Decimal = Decimal(0)

    @classmethod
    def of(cls, row: ModelPrice) -> Self:
        return cls(**{name: getattr(row, f"{name}_usd") for name in cls.__struct_fields__})

    def nano(self) -> dict[str, NanoUSD]:
        """The prices as `price_book.Price` has them: in nano-USD, and for one web search."""
        prices = {name: to_nano(getattr(self, name)) for name in self.__struct_fields__}
        return prices | {"web_search": NanoUSD(prices["web_search"] // 1000)}

    def columns(self) -> dict[str, Decimal]:
        """The prices by the columns of `ModelPrice`."""
        return {f"{name}_usd": getattr(self, name) for name in self.__struct_fields__}


PRICE_COLUMNS = tuple(f"{name}_usd" for name in PRICE_OF.values())
CACHED = tuple(name for name in PRICE_COLUMNS if name.startswith("cache_"))
# What the explicit default row for unpriced models costs unless staff say otherwise.
DEFAULT_RATES = Rates(Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"), Decimal(6), Decimal(10))


def with_cached_as_input(columns: Mapping[str, Any]) -> dict[str, Any]:
    """`columns`, with the price of plain input for each kind of cached input that has none, so that none is free."""
    plain = columns.get("input_usd")
    return {**columns, **{name: plain for name in CACHED if columns.get(name) is None}}
