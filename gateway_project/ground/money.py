"""Money: integer nano-USD where it is counted, `Decimal` USD where it is shown or stored."""

from decimal import ROUND_CEILING, Decimal
from typing import NewType

NanoUSD = NewType("NanoUSD", int)

NANO = 1_000_000_000
# Lua numbers are doubles: integers are exact up to 2**53 nano-USD, about nine million dollars.
# Budgets are held below this by a database constraint.
LARGEST_BUDGET_USD = Decimal("9000000")


def to_nano(usd: Decimal) -> NanoUSD:
    """`usd` in nano-USD, rounded up."""
    return NanoUSD(int((usd * NANO).to_integral_value(rounding=ROUND_CEILING)))


def spend_at(percent: int, budget: int, counted: int | None = None) -> int:
    """The spend at which `percent` of `budget` is used; the percentages may count a part of it only."""
    return budget - (budget if counted is None else counted) * (100 - percent) // 100


def to_usd(nano: int) -> Decimal:
    """`nano` nano-USD as USD with nine places."""
    return Decimal(nano).scaleb(-9)
