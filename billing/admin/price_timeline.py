"""A model's prices, the newest first: which are in force, to come or superseded."""

from datetime import datetime
from decimal import Decimal

import msgspec
from django.utils import timezone

from billing.models import ModelPrice


class PriceStep(msgspec.Struct, frozen=True):
    """One price. `change` is by how many percent its input price differs from the one before."""

    price: ModelPrice
    until: datetime | None
    state: str
    change: Decimal | None


def timeline(price: ModelPrice) -> list[PriceStep]:
    """Every price of the model of `price`, for inputs of the same size."""
    rows = ModelPrice.objects.filter(model=price.model, context_over_tokens=price.context_over_tokens)
    ordered = list(rows.select_related("created_by").order_by("effective_from"))
    now, steps = timezone.now(), []
    for at, row in enumerate(ordered):
        until = ordered[at + 1].effective_from if at + 1 < len(ordered) else None
        state = (
            "scheduled"
            if row.effective_from > now
            else "superseded"
            if until and until <= now
            else "in force"
        )
        before = ordered[at - 1].input_usd if at else None
        change = ((row.input_usd - before) * 100 / before).quantize(Decimal("0.1")) if before else None
        steps.append(PriceStep(price=row, until=until, state=state, change=change))
    return steps[::-1]
