"""What the whole installation used in a day, for the dashboard."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from billing.models.usage_record import UsageStatus


class DailyTotal(models.Model):
    """The sum of all tenants' `DailyUsage` of one day, by model and status, kept up to date by that table's triggers.

    It is split in slices (tenant id modulo 16), so that ledger processes of different shards never wait for the same
    row.
    """

    day = models.DateField()
    slice = models.PositiveSmallIntegerField()
    model = models.CharField(max_length=100)
    status = models.CharField(max_length=20, choices=UsageStatus.choices)
    requests = models.BigIntegerField(default=0)
    cost_usd = models.DecimalField("cost (USD)", max_digits=24, decimal_places=9, default=0)
    upstream_cost_usd = models.DecimalField(max_digits=24, decimal_places=9, default=0)
    latency_buckets = ArrayField(models.BigIntegerField(), null=True)
    ttft_buckets = ArrayField(models.BigIntegerField(), null=True)

    class Meta:
        ordering = ["-day", "model", "status", "slice"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["day", "slice", "model", "status"], name="billing_dailytotal_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.model} {self.status} /{self.slice}"
