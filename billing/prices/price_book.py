"""What a call costs, in integer nano-USD, rounded up once."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

import msgspec

from billing.models import ModelPrice
from billing.prices.rates import Rates
from billing.usage import Usage
from gateway_project.ground.by_token import ByToken
from gateway_project.ground.errors import TenantryError
from gateway_project.ground.money import NanoUSD

MILLION = 1_000_000


class ModelNotPriced(TenantryError):
    """The model has no price, so it is refused rather than given away."""

    code = "model_not_allowed"
    status = 404
    type = "not_found_error"

    def __init__(self, model: str, *, allowed: Sequence[str] = ()) -> None:
        instead = f" Until then use: {', '.join(allowed)}." if allowed else ""
        super().__init__(
            f"Model {model!r} has no price yet. Ask your provider to add one.{instead}",
            details={"allowed": list(allowed)},
        )
        self.model = model


class Price(msgspec.Struct, frozen=True):
    """One price row: nano-USD per 1M tokens, and for `web_search` per search. `default`: for models without a price."""

    id: int
    effective_from: datetime
    context_over_tokens: int
    input: NanoUSD
    output: NanoUSD
    cache_read: NanoUSD
    cache_write_5m: NanoUSD
    cache_write_1h: NanoUSD
    web_search: NanoUSD
    default: bool = False

    @property
    def dearest_input(self) -> NanoUSD:
        """The most that 1M prompt tokens can cost: they may be read, or written to a cache."""
        return max(self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h)


def cost(usage: Usage, price: Price) -> NanoUSD:
    """What `usage` costs under `price`, rounded up to the nano-dollar."""
    millionths = (
        usage.input_tokens * price.input
        + usage.output_tokens * price.output
        + usage.cache_read_tokens * price.cache_read
        + usage.cache_write_5m_tokens * price.cache_write_5m
        + usage.cache_write_1h_tokens * price.cache_write_1h
    )
    return NanoUSD(-(-millionths // MILLION) + usage.web_searches * price.web_search)


def with_margin(nano: int, percent: str | Decimal) -> NanoUSD:
    """The sell price of `nano` nano-USD: `percent` on top, rounded up to the nano-dollar."""
    return NanoUSD(-(-nano * (100_000 + _thousandths(percent)) // 100_000))


@lru_cache(maxsize=256)
def _thousandths(percent: str | Decimal) -> int:
    return int(Decimal(percent) * 1000)


class PriceBook(msgspec.Struct, frozen=True):
    """The price list: all prices by model name or alias, each list in the order of `effective_from`."""

    token: str
    prices: dict[str, list[Price]]
    default: list[Price]

    def knows(self, model: str) -> bool:
        """Whether `model` has a price of its own."""
        return model in self.prices

    def priced(self, models: Iterable[str]) -> list[str]:
        """Those of `models` that have a price now, sorted by name."""
        now = datetime.now(UTC)
        return sorted(
            name
            for name in models
            if _in_force(self.prices.get(name, ()), now, 0) or _in_force(self.default, now, 0)
        )

    def price_of(self, model: str, *, at: datetime | None = None, context: int = 0) -> Price:
        """The price of `model` at `at` (default: now) for a prompt of `context` tokens. Raises ModelNotPriced."""
        moment = at or datetime.now(UTC)
        found = _in_force(self.prices.get(model, ()), moment, context) or _in_force(
            self.default, moment, context
        )
        if found is None:
            raise ModelNotPriced(model)
        return found


def _in_force(prices: Sequence[Price], moment: datetime, context: int) -> Price | None:
    """The latest price in force: the plain one, or the long-context one of the same date that `context` reaches."""
    if len(prices) == 1:
        [only] = prices
        return only if only.effective_from <= moment and _reaches(only, context) else None
    started = [price for price in prices if price.effective_from <= moment]
    if not started:
        return None
    latest = max(price.effective_from for price in started)
    fitting = [price for price in started if price.effective_from == latest and _reaches(price, context)]
    return max(fitting, key=lambda price: price.context_over_tokens, default=None)


def _reaches(price: Price, context: int) -> bool:
    return not price.context_over_tokens or context > price.context_over_tokens


def read_prices(token: str = "") -> PriceBook:
    """Read the price list from the database."""
    prices: dict[str, list[Price]] = {}
    default: list[Price] = []
    for row in ModelPrice.objects.select_related("model").order_by("effective_from"):
        price = _price(row)
        if row.model is None:
            default.append(price)
        else:
            for name in (row.model.name, *row.model.aliases):
                prices.setdefault(name, []).append(price)
    return PriceBook(token=token, prices=prices, default=default)


def _price(row: ModelPrice) -> Price:
    return Price(
        id=row.pk,
        effective_from=row.effective_from,
        context_over_tokens=row.context_over_tokens or 0,
        **Rates.of(row).nano(),
        default=row.model_id is None,
    )


_books = ByToken(read_prices)


def price_book(token: str) -> PriceBook:
    """The price list under the token `PolicyVersion.everyone`; read again after that changed."""
    return _books.get(token)


def known_price_book(token: str) -> PriceBook | None:
    """The price list if it is in memory under `token`, else `None`. The hot path asks this first."""
    return _books.known(token)
