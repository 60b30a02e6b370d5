"""The outbox of policy changes that are committed in PostgreSQL and must reach Redis."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from tenants.models.tenant import Tenant


class PolicyChange(models.Model):
    """One committed change. Without a tenant it concerns everyone (tiers, catalogue, prices)."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(
        Tenant, models.DO_NOTHING, null=True, blank=True, db_constraint=False, related_name="policy_changes"
    )
    source = models.CharField(max_length=63, db_default="", help_text="The table that changed.")
    created_at = models.DateTimeField(db_default=Now())
    applied_at = models.DateTimeField(
        null=True, blank=True, help_text="When the change was announced to Redis."
    )

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["id"], condition=Q(applied_at=None), name="tenants_policychange_open")
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.source}"
