"""A closed month, frozen."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from tenants.models import Tenant


class Statement(models.Model):
    """The frozen totals of one tenant's period. `lines` are the sums by model and key when it was closed.

    Ledger rows of the period written after `recorded_until` go to the next statement, as `late_usd`.
    """

    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="statements")
    period_start = models.DateField()
    period_end = models.DateField(help_text="First day of the next period.")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    timezone = models.CharField("time zone", max_length=64)
    budget_mode = models.CharField(max_length=10)
    budget_usd = models.DecimalField("budget (USD)", max_digits=20, decimal_places=9, null=True, blank=True)
    requests = models.PositiveBigIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cache_read_tokens = models.PositiveBigIntegerField(default=0)
    cache_write_5m_tokens = models.PositiveBigIntegerField(default=0)
    cache_write_1h_tokens = models.PositiveBigIntegerField(default=0)
    web_searches = models.PositiveBigIntegerField(default=0)
    usage_usd = models.DecimalField("usage (USD)", max_digits=24, decimal_places=9)
    upstream_cost_usd = models.DecimalField("upstream cost (USD)", max_digits=24, decimal_places=9)
    late_usd = models.DecimalField(
        "late usage (USD)",
        max_digits=24,
        decimal_places=9,
        default=0,
        help_text="Usage from periods that were already closed.",
    )
    adjustments_usd = models.DecimalField("adjustments (USD)", max_digits=24, decimal_places=9, default=0)
    total_usd = models.DecimalField("total (USD)", max_digits=24, decimal_places=9)
    lines = models.JSONField(encoder=DjangoJSONEncoder, default=list)
    late_lines = models.JSONField(encoder=DjangoJSONEncoder, default=list)
    adjustment_lines = models.JSONField(encoder=DjangoJSONEncoder, default=list)
    alerts = models.JSONField(encoder=DjangoJSONEncoder, default=list)
    recorded_until = models.DateTimeField()
    closed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-period_start", "tenant"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "period_start"], name="billing_statement_unique"),
            models.CheckConstraint(
                condition=models.Q(period_end__gt=models.F("period_start")),
                name="billing_statement_period_has_a_length",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant.slug} {self.period_start}"
