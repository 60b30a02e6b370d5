"""What is added to the books besides usage. Ledger rows are never changed."""

from decimal import Decimal

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from billing.models.statement import Statement
from tenants.models import ApiKey, Tenant


class AdjustmentKind(models.TextChoices):
    CREDIT = "credit", "Credit"
    CORRECTION = "correction", "Correction"
    GRANT = "grant", "Budget grant"
    TOPUP = "topup", "Top-up"
    LATE_SETTLE = "late_settle", "Late settlement"


IN_FAVOUR = [AdjustmentKind.CREDIT, AdjustmentKind.GRANT, AdjustmentKind.TOPUP]


class Adjustment(models.Model):
    """One movement of money.

    credit, grant, topup: `amount_usd` is positive, in the tenant's favour. A credit lowers what it owes, a grant raises
    its budget until `expires_at`, a top-up raises a prepaid balance.
    correction, late_settle: `amount_usd` is the signed change of what it owes, negative is a refund.
    """

    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="adjustments")
    api_key = models.ForeignKey(
        ApiKey, models.PROTECT, null=True, blank=True, editable=False, related_name="adjustments"
    )
    kind = models.CharField(max_length=12, choices=AdjustmentKind.choices)
    amount_usd = models.DecimalField("amount (USD)", max_digits=20, decimal_places=9)
    reason = models.CharField(max_length=500)
    reference = models.CharField(
        max_length=200,
        blank=True,
        default="",
        help_text="Your reference. Used to prevent double booking.",
    )
    request_id = models.UUIDField(null=True, blank=True, help_text="The call that was settled late.")
    period_start = models.DateField(help_text="The billing period it counts in.")
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Budget grants only.")
    statement = models.ForeignKey(
        Statement, models.PROTECT, null=True, blank=True, editable=False, related_name="adjustments"
    )
    details = models.JSONField(encoder=DjangoJSONEncoder, default=dict, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, editable=False, related_name="+"
    )

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["tenant", "period_start"], name="billing_adjustment_period")]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "kind", "reference"],
                condition=~Q(reference=""),
                name="billing_adjustment_reference_once",
                violation_error_message="This reference is already booked.",
            ),
            models.UniqueConstraint(
                fields=["request_id"],
                condition=Q(kind="late_settle"),
                name="billing_adjustment_late_settle_once",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=AdjustmentKind.values), name="billing_adjustment_kind_is_known"
            ),
            models.CheckConstraint(
                condition=~Q(kind__in=IN_FAVOUR) | Q(amount_usd__gt=0),
                name="billing_adjustment_favours_are_positive",
                violation_error_message="Credits, grants and top-ups are positive amounts.",
            ),
            models.CheckConstraint(
                condition=Q(kind="grant", expires_at__isnull=False) | (~Q(kind="grant") & Q(expires_at=None)),
                name="billing_adjustment_only_grants_expire",
                violation_error_message="A budget grant needs an expiry date. Only grants can expire.",
            ),
            models.CheckConstraint(
                condition=~Q(kind="topup") | ~Q(reference=""),
                name="billing_adjustment_topup_has_a_reference",
                violation_error_message="A top-up needs a reference.",
            ),
            models.CheckConstraint(
                condition=~Q(kind="late_settle") | Q(request_id__isnull=False),
                name="billing_adjustment_late_settle_has_a_request",
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="billing_adjustment_has_a_reason"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {Decimal(self.amount_usd).normalize():f} USD"

    @property
    def charge_usd(self) -> Decimal:
        """By how much it raises what the tenant owes, in USD; 0 for grants and top-ups."""
        if self.kind == AdjustmentKind.CREDIT:
            return -self.amount_usd
        return self.amount_usd if self.kind not in IN_FAVOUR else Decimal(0)
