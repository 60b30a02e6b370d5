"""What the upstream billed, compared with the ledger."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F


class BillCheck(models.Model):
    """One UTC day and one model, by the upstream's name. `upstream_bill.comparison` can compute it again."""

    day = models.DateField()
    model = models.CharField(max_length=100, help_text="The upstream's name for the model.")
    billed_usd = models.DecimalField("billed (USD)", max_digits=20, decimal_places=9)
    booked_usd = models.DecimalField(
        "booked (USD)", max_digits=24, decimal_places=9, help_text="Cost price, with later price corrections."
    )
    difference_usd = models.GeneratedField(
        expression=F("billed_usd") - F("booked_usd"),
        output_field=models.DecimalField(max_digits=24, decimal_places=9),
        db_persist=True,
        help_text="Positive if the upstream billed more than is in the ledger.",
    )
    counts = models.JSONField(
        encoder=DjangoJSONEncoder, default=dict, help_text="Requests and tokens: [billed, booked]."
    )
    ok = models.BooleanField("within tolerance")
    checked_at = models.DateTimeField()

    class Meta:
        verbose_name = "bill comparison"
        ordering = ["-day", "model"]
        default_permissions = ("view",)
        constraints = [models.UniqueConstraint(fields=["day", "model"], name="billing_billcheck_unique")]

    def __str__(self) -> str:
        return f"{self.day} {self.model}"
