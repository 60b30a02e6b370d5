"""Tiers' routing tables: the model that `auto` means for each complexity."""

from django.db import models
from django.db.models import Q

from gateway_project.ground.policy_changes import PolicyModel
from routing.choice import Complexity
from routing.models import Model
from tenants.models.tier import Tier


class TierRoute(PolicyModel):
    """The model a tier's tenants get for requests of one complexity."""

    tier = models.ForeignKey(Tier, models.CASCADE, related_name="routes")
    complexity = models.CharField(
        max_length=10,
        choices=[(complexity.value, complexity.value.capitalize()) for complexity in Complexity],
    )
    model = models.ForeignKey(Model, models.PROTECT, related_name="tier_routes")

    class Meta:
        ordering = ["tier", "-complexity"]
        constraints = [
            models.UniqueConstraint(fields=["tier", "complexity"], name="tenants_tierroute_unique"),
            models.CheckConstraint(
                condition=Q(complexity__in=[complexity.value for complexity in Complexity]),
                name="tenants_tierroute_complexity_is_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tier}: {self.complexity} → {self.model}"
