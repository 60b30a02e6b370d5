"""The models of a new tenant if nobody chose any."""

from collections.abc import Collection

from routing.models import Model
from tenants.models import Tier


def starting_models(*, tier: Tier, chosen: Collection[Model] | None) -> Collection[Model]:
    """The models `chosen`, or the tier's defaults if that is `None`."""
    return list(tier.default_models.all()) if chosen is None else chosen
