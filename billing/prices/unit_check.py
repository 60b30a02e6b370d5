"""Find prices that look like a slip of units. Form, API and import ask for a confirmation of those.

A price per 1000 tokens, per token or in cents is off by a factor of a hundred or more. It counts as a slip if it is far
from both the model's own price and what its family costs.
"""

from decimal import Decimal
from statistics import median

from django.db.models import Q, QuerySet
from django.utils import timezone

from billing.models import ModelPrice
from billing.prices.rates import CACHED, DEFAULT_RATES, Rates
from routing.models import Model

# Less than the factor of a hundred of most slips, since the real price may have changed, too.
FAR = 50


def slips(model: Model | None, rates: Rates) -> dict[str, str]:
    """What looks wrong with `rates` for `model` (`None`: the default row), by column; empty if nothing does."""
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
        # Cached input and searches may be free. Input and output that are would be given away.
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
    """The rates of the family's other models of its kind (text or embeddings); for a default row, all text models'."""
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
