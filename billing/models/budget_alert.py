"""Budget alerts, sent or waiting to be sent."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from tenants.models import Tenant


class AlertKind(models.TextChoices):
    THRESHOLD = "threshold", "Budget threshold reached"
    TOKENS_DAY = "tokens_day", "Daily token limit reached"
    FORECAST = "forecast", "Budget forecast to run out early"
    ANOMALY = "anomaly", "Unusual spend"


class AlertScope(models.TextChoices):
    TENANT = "tenant", "Tenant"
    KEY = "key", "API key"
    USER = "user", "End user"
    PREPAID = "prepaid", "Prepaid balance"


class BudgetAlert(models.Model):
    """One crossing of a threshold, made unique by a constraint, whoever sees it first.

    The budget is part of that: a budget raised in mid-month has its own crossings. `request_id` is the call that
    crossed it. `subject` is the key's id or the end user.
    """

    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, db_constraint=False, related_name="budget_alerts")
    kind = models.CharField(max_length=12, choices=AlertKind.choices, default=AlertKind.THRESHOLD)
    scope = models.CharField(max_length=10, choices=AlertScope.choices, default=AlertScope.TENANT)
    subject = models.CharField(max_length=256, blank=True, default="")
    period_start = models.DateField(help_text="For daily token limits and unusual spend, the day.")
    threshold = models.PositiveSmallIntegerField("threshold (%)")
    budget_usd = models.DecimalField("budget (USD)", max_digits=20, decimal_places=9)
    spent_usd = models.DecimalField("spent (USD)", max_digits=20, decimal_places=9)
    request_id = models.UUIDField(null=True, blank=True)
    crossed_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    rearmed_at = models.DateTimeField(
        null=True, blank=True, help_text="When spend dropped below the threshold again."
    )
    details = models.JSONField(encoder=DjangoJSONEncoder, default=dict, blank=True)

    class Meta:
        ordering = ["-crossed_at", "-threshold"]
        indexes = [models.Index(fields=["-crossed_at"], name="billing_budgetalert_newest")]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "period_start", "kind", "scope", "subject", "threshold", "budget_usd"],
                name="billing_budgetalert_unique",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.get_kind_display()} {self.threshold}%"
