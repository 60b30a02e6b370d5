"""The question asked before a price that looks like a slip of units goes in: form, API and import ask the same.

A price per 1000 tokens, per token or in cents is off by a hundred or more. It is asked about when it is far
from both the model's own price and what its family costs; a price that is right is confirmed and goes in.
"""

from decimal import Decimal
from statistics import median

from django.db.models import Q, QuerySet
from django.utils import timezone

from billing.models import ModelPrice
from billing.prices.rates import CACHED, DEFAULT_RATES, Rates
from routing.models import Model

# Below the hundredfold of the commonest slips, since the price it is held against may have moved as well.
FAR = 50


def slips(model: Model | None, rates: Rates) -> dict[str, str]:
    """What looks wrong with `rates` for `model` (`None`: the default row), by column; empty: nothing does."""
    own, family = _own(model), _family(model)
    embeds = model is not None and model.embeds  # vectors cost a hundredth of text, and have no output
    found = {}
    for column, price in rates.columns().items():
        usual = [
            value
            for value in (
                own.columns()[column] if own else None,
                median(each.columns()[column] for each in family) if family else None,
            )
            if value
        ] or ([] if embeds else [DEFAULT_RATES.columns()[column]])
        # Cached input and searches may cost nothing; input and output that do are given away.
        if not usual or (not price and column in (*CACHED, "web_search_usd")):
            continue
        if all(not price or price >= FAR * value or price * FAR <= value for value in usual):
            found[column] = (
                f"{_plain(price)} is far from what is usual here ({_plain(usual[-1])}). Prices are USD per 1M tokens "
                "(per 1000 web searches). Confirm it if it is right."
            )
    return found


def _own(model: Model | None) -> Rates | None:
    row = _in_force(Q(model=model)).first()
    return Rates.of(row) if row else None


def _family(model: Model | None) -> list[Rates]:
    """The other models of the family that make the same; of a default row, all models of text."""
    others = Q(model__embeds=False)
    if model is not None:
        others = Q(model__family=model.family, model__embeds=model.embeds) & ~Q(model=model)
    return [Rates.of(row) for row in _in_force(others)]


def _in_force(rows: Q) -> QuerySet[ModelPrice]:
    return (
        ModelPrice.objects.filter(rows, context_over_tokens=None, effective_from__lte=timezone.now())
        .order_by("model_id", "-effective_from")
        .distinct("model_id")
    )


def _plain(amount: Decimal) -> str:
    return f"{Decimal(amount).normalize():f}"
