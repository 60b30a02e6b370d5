"""The daily roll-up by tag, so that no report by tag reads the ledger."""

from django.db import models

from tenants.models import Tenant


class DailyTagUsage(models.Model):
    """Sums of one tenant's ledger rows of one local day that carry `name=value`, by model.

    Written by the drain in the transaction that writes the rows. A call counts once under each of its tags.
    """

    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, db_constraint=False, related_name="tag_usage")
    day = models.DateField()
    name = models.CharField("tag", max_length=64)
    value = models.CharField(max_length=64)
    model = models.CharField(max_length=100)
    requests = models.BigIntegerField(default=0)
    tokens = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cost_usd = models.DecimalField("cost (USD)", max_digits=24, decimal_places=9, default=0)

    class Meta:
        verbose_name_plural = "daily usage by tag"
        ordering = ["-day", "tenant", "name", "value"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["day"], name="billing_dailytagusage_day")]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "name", "day", "value", "model"], name="billing_dailytagusage_unique"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.day} {self.name}={self.value}"
