"""Tiers: the limits that tenants have unless they have their own."""

from decimal import Decimal

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from routing.models import Model
from tenants.models.limits import BUDGET_VALIDATORS, Limits


class Tier(Limits):
    """Defaults for every limit; NULL is unlimited. `default_models` are what a new tenant starts with."""

    name = models.SlugField(max_length=50, unique=True)
    description = models.CharField(max_length=200, blank=True)
    default_models = models.ManyToManyField(
        Model,
        blank=True,
        related_name="+",
        help_text="Models that new tenants start with. Existing tenants do not change.",
    )
    max_requests_per_minute = models.PositiveIntegerField("requests/min", null=True, blank=True, default=60)
    max_tokens_per_day = models.PositiveBigIntegerField("tokens/day", null=True, blank=True, default=500_000)
    monthly_budget_usd = models.DecimalField(
        "monthly budget (USD)",
        max_digits=16,
        decimal_places=9,
        null=True,
        blank=True,
        default=Decimal(100),
        validators=BUDGET_VALIDATORS,
    )
    downgrade_percent = models.PositiveSmallIntegerField(
        "downgrade at (%)",
        default=90,
        validators=[MaxValueValidator(100)],
        help_text="Share of spent budget at which cheaper models take over.",
    )
    upstream_weight = models.PositiveSmallIntegerField(
        "upstream share",
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="When upstream capacity is short, a tenant with weight 3 gets three times the share of weight 1.",
    )
    margin_percent = models.DecimalField(
        "margin (%)",
        max_digits=7,
        decimal_places=3,
        default=Decimal(0),
        validators=[MinValueValidator(Decimal(-100)), MaxValueValidator(Decimal(1000))],
        help_text="Added to the cost price. Budgets count the sell price.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(Limits.Meta):
        ordering = ["name"]
        constraints = [
            *Limits.Meta.constraints,
            models.CheckConstraint(condition=~Q(name=""), name="tenants_tier_has_a_name"),
        ]

    def __str__(self) -> str:
        return self.name
