"""Customers: each row has a tier, limits of its own, and how its money and time are counted."""

import zoneinfo
from decimal import Decimal

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from routing.models import Model
from tenants.models.limits import Limits
from tenants.models.tier import Tier
from tenants.policy import BudgetMode, DisconnectPolicy


class TenantStatus(models.TextChoices):
    ACTIVE = "active", "Active"
    SUSPENDED = "suspended", "Suspended"


BUDGET_MODES = [
    (BudgetMode.HARD.value, "Hard: refuse requests at the budget"),
    (BudgetMode.SOFT.value, "Soft: only send alerts"),
    (BudgetMode.PREPAID.value, "Prepaid: a balance that does not reset"),
]
DISCONNECT_POLICIES = [
    (DisconnectPolicy.CANCEL.value, "Cancel the upstream call"),
    (DisconnectPolicy.DRAIN.value, "Read the response to the end for exact usage"),
]


def default_alert_percents() -> list[int]:
    return [80, 90, 100]


def validate_timezone(name: str) -> None:
    if name not in zoneinfo.available_timezones():
        raise ValidationError(
            "%(name)s is not an IANA time zone such as Europe/Berlin.", params={"name": name}
        )


class Tenant(Limits):
    """One customer. It is never deleted, only marked as deleted, so that its ledger rows stay readable."""

    slug = models.SlugField(
        max_length=63,
        unique=True,
        validators=[
            RegexValidator(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z", "Use lowercase letters, digits and hyphens.")
        ],
    )
    name = models.CharField(max_length=200)
    tier = models.ForeignKey(Tier, models.PROTECT, related_name="tenants")
    status = models.CharField(max_length=10, choices=TenantStatus.choices, default=TenantStatus.ACTIVE)
    allowed_models = models.ManyToManyField(
        Model,
        through="tenants.AllowedModel",
        related_name="tenants",
        blank=True,
        help_text="If empty, no model is allowed.",
    )
    default_model = models.ForeignKey(
        Model,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="default_of",
        help_text="Used when a request names no model. If empty, the model is chosen by complexity.",
    )
    budget_mode = models.CharField(max_length=10, choices=BUDGET_MODES, default=BudgetMode.HARD.value)
    alert_percents = ArrayField(
        models.PositiveSmallIntegerField(validators=[MinValueValidator(1), MaxValueValidator(1000)]),
        default=default_alert_percents,
        blank=True,
        verbose_name="alert at (%)",
    )
    disconnect_policy = models.CharField(
        "if the caller disconnects",
        max_length=10,
        choices=DISCONNECT_POLICIES,
        default=DisconnectPolicy.CANCEL.value,
    )
    timezone = models.CharField("time zone", max_length=64, default="UTC", validators=[validate_timezone])
    billing_day = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(31)],
        help_text="Day of the month on which the billing period starts. In shorter months, 29 to 31 mean the last day.",
    )
    alert_emails = ArrayField(
        models.EmailField(), default=list, blank=True, help_text="Alerts are also emailed to these addresses."
    )
    # Kept up to date by billing, from its adjustments: what is granted besides the budget now, what prepaid calls may
    # ever cost (top-ups, credits and corrections), and the balance after the last top-up.
    granted_usd = models.DecimalField(max_digits=20, decimal_places=9, default=0, editable=False)
    topped_up_usd = models.DecimalField(max_digits=20, decimal_places=9, default=0, editable=False)
    topped_up_to_usd = models.DecimalField(max_digits=20, decimal_places=9, default=0, editable=False)
    note = models.TextField(blank=True, help_text="Visible to staff only.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    change_reason = ""  # of the change being saved; the audit trail keeps it

    class Meta(Limits.Meta):
        ordering = ["slug"]
        constraints = [
            *Limits.Meta.constraints,
            models.CheckConstraint(
                condition=Q(slug__regex=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"),
                name="tenants_tenant_slug_is_a_slug",
            ),
            models.CheckConstraint(
                condition=Q(status__in=TenantStatus.values), name="tenants_tenant_status_is_known"
            ),
            models.CheckConstraint(
                condition=Q(budget_mode__in=[mode.value for mode in BudgetMode]),
                name="tenants_tenant_budget_mode_is_known",
            ),
            models.CheckConstraint(
                condition=Q(disconnect_policy__in=[policy.value for policy in DisconnectPolicy]),
                name="tenants_tenant_disconnect_policy_is_known",
            ),
            models.CheckConstraint(
                condition=Q(billing_day__gte=1, billing_day__lte=31),
                name="tenants_tenant_billing_day_is_a_day",
            ),
        ]

    def __str__(self) -> str:
        return self.slug

    def get_additional_data(self) -> dict[str, str] | None:
        """The reason of this change, for the audit trail."""
        return {"reason": self.change_reason} if self.change_reason else None

    @property
    def spendable_usd(self) -> Decimal | None:
        """The USD its counter may reach: its own or its tier's budget, and what is granted besides.

        In prepaid mode it is the sum of all top-ups, credits and corrections. `None` is unlimited.
        """
        return self.spendable_under(self.tier)

    def spendable_under(self, tier: Tier) -> Decimal | None:
        """`spendable_usd` if it were a tenant of `tier`."""
        if self.budget_mode == BudgetMode.PREPAID:
            return self.topped_up_usd
        own = self.monthly_budget_usd
        budget = tier.monthly_budget_usd if own is None else own
        return None if budget is None else budget + self.granted_usd

    def concerns(self) -> set[int] | None:
        return {self.pk} if self.pk else set()
