"""What a new tenant may use when nobody has chosen its models."""

from collections.abc import Collection

from routing.models import Model
from tenants.models import Tier


def starting_models(*, tier: Tier, chosen: Collection[Model] | None) -> Collection[Model]:
    """The models `chosen`; `None`: those that the tier offers to a new tenant."""
    return list(tier.default_models.all()) if chosen is None else chosen
