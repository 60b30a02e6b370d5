"""The daily roll-up, which charts and reports read instead of the ledger."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from billing.models.usage_record import UsageStatus
from tenants.models import ApiKey, Tenant


class DailyUsage(models.Model):
    """Sums of one tenant's ledger rows of one local day, by key, model and status.

    Written by the drain in the transaction that writes the rows. The two bucket arrays are latency
    histograms, see `billing.ledger.histogram`; NULL while nothing was measured.
    """

    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, db_constraint=False, related_name="daily_usage")
    api_key = models.ForeignKey(
        ApiKey, models.DO_NOTHING, null=True, db_constraint=False, related_name="daily_usage"
    )
    day = models.DateField()
    period_start = models.DateField()
    model = models.CharField(max_length=100)
    status = models.CharField(max_length=20, choices=UsageStatus.choices)
    requests = models.PositiveBigIntegerField(db_default=0)
    estimated_requests = models.PositiveBigIntegerField(db_default=0)
    input_tokens = models.PositiveBigIntegerField(db_default=0)
    output_tokens = models.PositiveBigIntegerField(db_default=0)
    cache_read_tokens = models.PositiveBigIntegerField(db_default=0)
    cache_write_5m_tokens = models.PositiveBigIntegerField("cache write 5m tokens", db_default=0)
    cache_write_1h_tokens = models.PositiveBigIntegerField("cache write 1h tokens", db_default=0)
    web_searches = models.PositiveBigIntegerField(db_default=0)
    cost_usd = models.DecimalField("cost (USD)", max_digits=24, decimal_places=9, db_default=0)
    upstream_cost_usd = models.DecimalField(max_digits=24, decimal_places=9, db_default=0)
    downgraded_requests = models.PositiveBigIntegerField(db_default=0)
    downgraded_cost_usd = models.DecimalField(max_digits=24, decimal_places=9, db_default=0)
    saved_usd = models.DecimalField(
        "saved by downgrades (USD)", max_digits=24, decimal_places=9, db_default=0
    )
    latency_ms_sum = models.PositiveBigIntegerField(db_default=0)
    latency_count = models.PositiveBigIntegerField(db_default=0)
    ttft_ms_sum = models.PositiveBigIntegerField(db_default=0)
    ttft_count = models.PositiveBigIntegerField(db_default=0)
    latency_buckets = ArrayField(models.BigIntegerField(), null=True, editable=False)
    ttft_buckets = ArrayField(models.BigIntegerField(), null=True, editable=False)

    class Meta:
        verbose_name_plural = "daily usage"
        ordering = ["-day", "tenant"]
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["day"], name="billing_dailyusage_day"),
            models.Index(fields=["tenant", "period_start"], name="billing_dailyusage_period"),
            models.Index(
                fields=["status", "-day"], condition=~models.Q(status="ok"), name="billing_dailyusage_faults"
            ),
        ]
        constraints = [
            # The day on which a tenant's billing day or time zone changes belongs to two periods.
            models.UniqueConstraint(
                fields=["tenant", "day", "api_key", "model", "status", "period_start"],
                nulls_distinct=False,
                name="billing_dailyusage_unique",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.day} {self.model} {self.status}"
