"""What each tenant spent in a period, for lists of many tenants."""

from django.db import models

from tenants.models import Tenant


class PeriodUsage(models.Model):
    """The sum of a tenant's `DailyUsage` in one billing period, kept up to date by that table's triggers."""

    tenant = models.ForeignKey(
        Tenant, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="period_usage"
    )
    period_start = models.DateField()
    requests = models.BigIntegerField(default=0)
    cost_usd = models.DecimalField("cost (USD)", max_digits=24, decimal_places=9, default=0)
    upstream_cost_usd = models.DecimalField(max_digits=24, decimal_places=9, default=0)

    class Meta:
        verbose_name_plural = "period usage"
        ordering = ["-period_start", "tenant"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["tenant", "period_start"], name="billing_periodusage_unique")
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.period_start}"
