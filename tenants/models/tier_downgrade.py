"""Downgrades of a tier that differ from the catalogue's."""

from django.db import models
from django.db.models import F, Q

from gateway_project.ground.policy_changes import PolicyModel
from routing.models import Model
from tenants.models.tier import Tier


class TierDowngrade(PolicyModel):
    """For this tier, `target` replaces `model` near the budget's end; without a target, nothing does."""

    tier = models.ForeignKey(Tier, models.CASCADE, related_name="downgrades")
    model = models.ForeignKey(Model, models.CASCADE, related_name="+")
    target = models.ForeignKey(
        Model,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="If empty, this model is not downgraded.",
    )

    class Meta:
        ordering = ["tier", "model"]
        constraints = [
            models.UniqueConstraint(fields=["tier", "model"], name="tenants_tierdowngrade_unique"),
            models.CheckConstraint(
                condition=Q(target=None) | ~Q(target=F("model")),
                name="tenants_tierdowngrade_goes_to_another",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tier}: {self.model} → {self.target or 'none'}"
