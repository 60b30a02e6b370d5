"""Money: integer nano-USD where it is counted, `Decimal` USD where it is shown or stored.

Both are exact to the nano-dollar, and only this module converts between them. The one rounding is up. It applies to
values with more than nine places, such as those of an imported price list or bill, and never to our own columns. So no
price is charged too low and no reservation is too small.
"""

from decimal import ROUND_CEILING, Decimal
from typing import NewType

NanoUSD = NewType("NanoUSD", int)

NANO = 1_000_000_000
# Lua numbers are doubles: integers are exact up to 2**53 nano-USD, about nine million dollars.
# A database constraint keeps budgets below this.
LARGEST_BUDGET_USD = Decimal("9000000")


def to_nano(usd: Decimal) -> NanoUSD:
    """`usd` in nano-USD, rounded up."""
    return NanoUSD(int((usd * NANO).to_integral_value(rounding=ROUND_CEILING)))


def nine_places(usd: Decimal) -> Decimal:
    """`usd` as it is stored: with nine places, rounded up."""
    return to_usd(to_nano(usd))


def spend_at(percent: int, budget: int, counted: int | None = None) -> int:
    """The spend (nano-USD) at which `percent` of `budget` is used. With `counted`, percent of that last part of it."""
    return budget - (budget if counted is None else counted) * (100 - percent) // 100


def to_usd(nano: int) -> Decimal:
    """`nano` nano-USD as USD with nine places."""
    return Decimal(nano).scaleb(-9)
