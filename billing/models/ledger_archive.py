"""Months of the ledger that were moved out of the database into files."""

from django.db import models
from django.db.models import Q


class LedgerArchive(models.Model):
    """One month's file. `digest` is the SHA-256 of its rows as CSV, `file_digest` that of the compressed file."""

    month = models.DateField(help_text="First day of the month, in UTC.")
    file = models.CharField(max_length=1000)
    rows = models.PositiveBigIntegerField()
    cost_usd = models.DecimalField("cost (USD)", max_digits=24, decimal_places=9)
    digest = models.CharField(max_length=64)
    file_digest = models.CharField(max_length=64)
    archived_at = models.DateTimeField(auto_now_add=True)
    restored_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-month"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["month"], condition=Q(restored_at=None), name="billing_ledgerarchive_a_month_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"
