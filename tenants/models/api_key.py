"""Tenants' API keys, stored as SHA-256."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from gateway_project.ground.policy_changes import PolicyModel
from tenants.models.limits import BUDGET_VALIDATORS, within_budget_bounds
from tenants.models.tenant import Tenant


class ApiKey(PolicyModel):
    """One key. `prefix` is its visible start, `digest` the hex SHA-256 of the whole."""

    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=20, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    max_requests_per_minute = models.PositiveIntegerField("requests/min", null=True, blank=True)
    monthly_budget_usd = models.DecimalField(
        "monthly budget (USD)",
        max_digits=16,
        decimal_places=9,
        null=True,
        blank=True,
        validators=BUDGET_VALIDATORS,
    )
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    replaced_by = models.OneToOneField(
        "self", models.SET_NULL, null=True, blank=True, editable=False, related_name="replaces"
    )

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["tenant", "-created_at"], name="tenants_apikey_of_tenant")]
        constraints = [
            models.CheckConstraint(
                condition=Q(digest__regex=r"^[0-9a-f]{64}$"), name="tenants_apikey_digest_is_sha256"
            ),
            models.CheckConstraint(
                condition=within_budget_bounds("monthly_budget_usd"),
                name="tenants_apikey_budget_can_be_counted",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def state(self) -> str:
        """`live`, `expired` or `revoked`."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= timezone.now() else "live"

    def concerns(self) -> set[int] | None:
        return {self.tenant_id}
