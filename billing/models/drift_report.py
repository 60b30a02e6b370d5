"""A difference found when the books were compared."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from tenants.models import Tenant


class DriftReport(models.Model):
    """One tenant's three books at one moment, in USD. `drift_usd` is the largest difference between two."""

    tenant = models.ForeignKey(
        Tenant, models.DO_NOTHING, null=True, blank=True, db_constraint=False, related_name="drift_reports"
    )
    checked_at = models.DateTimeField(auto_now_add=True)
    ok = models.BooleanField("matches")
    period_start = models.DateField(null=True, blank=True)
    redis_usd = models.DecimalField(
        "live counter (USD)", max_digits=20, decimal_places=9, null=True, blank=True
    )
    ledger_usd = models.DecimalField("ledger (USD)", max_digits=20, decimal_places=9)
    rollup_usd = models.DecimalField("roll-up (USD)", max_digits=20, decimal_places=9)
    reserved_usd = models.DecimalField("reserved (USD)", max_digits=20, decimal_places=9, default=0)
    undrained = models.PositiveBigIntegerField(default=0)
    drift_usd = models.DecimalField("difference (USD)", max_digits=20, decimal_places=9, default=0)
    details = models.JSONField(encoder=DjangoJSONEncoder, default=dict, blank=True)

    class Meta:
        verbose_name = "reconciliation"
        ordering = ["-checked_at"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["-checked_at"], name="billing_driftreport_newest")]

    def __str__(self) -> str:
        return f"{'matches' if self.ok else 'differs'} {self.checked_at:%Y-%m-%d %H:%M}"
