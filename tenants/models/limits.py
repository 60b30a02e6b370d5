"""The limit columns that tiers and tenants share, with their constraints."""

from decimal import Decimal

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from gateway_project.ground.policy_changes import PolicyModel

# What Lua counts exactly; see `gateway_project.ground.money.LARGEST_BUDGET_USD`, with which a test compares it.
LARGEST_BUDGET_USD = Decimal("9000000")
BUDGET_VALIDATORS = [MinValueValidator(Decimal(0)), MaxValueValidator(LARGEST_BUDGET_USD)]


def within_budget_bounds(field: str) -> Q:
    """The condition that `field` is NULL, or from 0 to the largest budget that the meter can count."""
    return Q(**{field: None}) | Q(**{f"{field}__gte": 0, f"{field}__lte": LARGEST_BUDGET_USD})


def release_refusal(*, release: int | None, threshold: int | None) -> str:
    """Why downgrades that begin at `threshold` % cannot end below `release` %; empty if they can."""
    if release is None or threshold is None or release <= threshold:
        return ""
    return f"Downgrades start at {threshold}% and cannot end above that. Enter {threshold} or less, or leave it empty."


class Limits(PolicyModel):
    """Limits on requests, tokens and money. NULL inherits on a tenant and is unlimited on a tier."""

    max_requests_per_minute = models.PositiveIntegerField("requests/min", null=True, blank=True)
    max_user_requests_per_minute = models.PositiveIntegerField(
        "requests/min per end user", null=True, blank=True
    )
    max_concurrency = models.PositiveIntegerField("concurrent requests", null=True, blank=True)
    max_tokens_per_day = models.PositiveBigIntegerField("tokens/day", null=True, blank=True)
    monthly_budget_usd = models.DecimalField(
        "monthly budget (USD)",
        max_digits=16,
        decimal_places=9,
        null=True,
        blank=True,
        validators=BUDGET_VALIDATORS,
    )
    user_monthly_budget_usd = models.DecimalField(
        "monthly budget per end user (USD)",
        max_digits=16,
        decimal_places=9,
        null=True,
        blank=True,
        validators=BUDGET_VALIDATORS,
    )
    downgrade_percent = models.PositiveSmallIntegerField(
        "downgrade at (%)",
        null=True,
        blank=True,
        validators=[MaxValueValidator(100)],
        help_text="Share of spent budget at which cheaper models take over.",
    )
    downgrade_release_percent = models.PositiveSmallIntegerField(
        "downgrade until below (%)",
        null=True,
        blank=True,
        validators=[MaxValueValidator(100)],
        help_text="Cheaper models keep serving until spend is below this share, after a top-up or a raised budget. "
        "If empty, ten points below the threshold.",
    )
    shadow_tier = models.ForeignKey(
        "tenants.Tier",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name="shadow tier",
        help_text="Its limits and routes are evaluated but not enforced. What they would have refused or routed "
        "differently is counted.",
    )
    margin_percent = models.DecimalField(
        "margin (%)",
        max_digits=7,
        decimal_places=3,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(-100)), MaxValueValidator(Decimal(1000))],
        help_text="Added to the cost price. Budgets count the sell price.",
    )

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(
                condition=within_budget_bounds("monthly_budget_usd"),
                name="%(app_label)s_%(class)s_budget_can_be_counted",
            ),
            models.CheckConstraint(
                condition=within_budget_bounds("user_monthly_budget_usd"),
                name="%(app_label)s_%(class)s_user_budget_can_be_counted",
            ),
            models.CheckConstraint(
                condition=Q(downgrade_percent=None) | Q(downgrade_percent__lte=100),
                name="%(app_label)s_%(class)s_downgrade_is_a_percentage",
            ),
            models.CheckConstraint(
                condition=Q(downgrade_release_percent=None) | Q(downgrade_release_percent__lte=100),
                name="%(app_label)s_%(class)s_release_is_a_percentage",
            ),
            models.CheckConstraint(
                condition=Q(margin_percent=None) | Q(margin_percent__gte=-100, margin_percent__lte=1000),
                name="%(app_label)s_%(class)s_margin_is_sane",
            ),
        ]
