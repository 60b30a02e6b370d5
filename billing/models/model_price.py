"""The price list: each row applies from a date on, and is superseded but never edited."""

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from gateway_project.ground.policy_changes import PolicyModel
from routing.models import Model


def usd(label: str, **options: Any) -> Any:
    """A price column: USD, six places, not negative."""
    return models.DecimalField(
        label, max_digits=14, decimal_places=6, validators=[MinValueValidator(Decimal(0))], **options
    )


class PriceIsImmutable(ValidationError):
    """A price row cannot be changed. Add a later one instead."""


class ModelPrice(PolicyModel):
    """What the upstream charges for a model from `effective_from` on, in USD per 1M tokens.

    Without a model it is the explicit default for models without a price. A row with `context_over_tokens` replaces the
    plain one for calls whose whole input is longer than that.
    """

    model = models.ForeignKey(
        Model,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="prices",
        help_text="If empty, the default price for models without their own.",
    )
    effective_from = models.DateTimeField(default=timezone.now)
    context_over_tokens = models.PositiveIntegerField(
        "for inputs over (tokens)",
        null=True,
        blank=True,
        help_text="If set, the price only applies to longer inputs.",
    )
    input_usd = usd("input / 1M")
    output_usd = usd("output / 1M")
    cache_read_usd = usd("cache read / 1M", default=Decimal(0))
    cache_write_5m_usd = usd("cache write 5 min / 1M", default=Decimal(0))
    cache_write_1h_usd = usd("cache write 1 h / 1M", default=Decimal(0))
    web_search_usd = usd("web search / 1,000", default=Decimal(0))
    source = models.CharField(max_length=100, default="staff", help_text="Where the price comes from.")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, editable=False, related_name="+"
    )

    class Meta:
        ordering = ["model__name", "-effective_from", "context_over_tokens"]
        constraints = [
            models.UniqueConstraint(
                fields=["model", "effective_from", "context_over_tokens"],
                nulls_distinct=False,
                name="billing_modelprice_unique",
            ),
            models.CheckConstraint(
                condition=Q(
                    input_usd__gte=0,
                    output_usd__gte=0,
                    cache_read_usd__gte=0,
                    cache_write_5m_usd__gte=0,
                    cache_write_1h_usd__gte=0,
                    web_search_usd__gte=0,
                ),
                name="billing_modelprice_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(context_over_tokens=None) | Q(context_over_tokens__gt=0),
                name="billing_modelprice_context_tier_is_positive",
            ),
        ]

    def __str__(self) -> str:
        prices = "/".join(f"{Decimal(price).normalize():f}" for price in (self.input_usd, self.output_usd))
        return f"{self.model or 'default'} {prices}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert the row. Raises PriceIsImmutable for an existing one; a trigger refuses raw SQL as well."""
        if not self._state.adding:
            raise PriceIsImmutable("A price is never edited: add a new one with a later date.")
        super().save(*args, **kwargs)
