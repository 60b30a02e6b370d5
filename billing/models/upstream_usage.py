"""The upstream's bill, for a comparison with the ledger."""

from django.db import models


class UpstreamUsage(models.Model):
    """One line of the upstream's bill: a UTC day and a model, by the upstream's name."""

    day = models.DateField()
    model = models.CharField(max_length=100)
    requests = models.PositiveBigIntegerField(null=True, blank=True)
    input_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    output_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    cache_read_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    cache_write_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    cost_usd = models.DecimalField("billed (USD)", max_digits=20, decimal_places=9)
    source = models.CharField(max_length=200)
    imported_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "upstream bill line"
        ordering = ["-day", "model"]
        constraints = [models.UniqueConstraint(fields=["day", "model"], name="billing_upstreamusage_unique")]

    def __str__(self) -> str:
        return f"{self.day} {self.model}"
