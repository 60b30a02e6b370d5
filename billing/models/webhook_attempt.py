"""The log of delivery attempts."""

from django.db import models

from billing.models.webhook_delivery import WebhookDelivery


class WebhookAttempt(models.Model):
    """One attempt of a delivery and how it ended. `response` is the start of the response's body."""

    delivery = models.ForeignKey(WebhookDelivery, models.CASCADE, related_name="log")
    number = models.PositiveSmallIntegerField()
    attempted_at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField("duration (ms)")
    http_status = models.PositiveSmallIntegerField("HTTP status", null=True, blank=True)
    error = models.CharField(max_length=500, blank=True, default="")
    response = models.CharField(max_length=1000, blank=True, default="")

    class Meta:
        ordering = ["-attempted_at"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["delivery", "-attempted_at"], name="billing_webhookattempt_log")]

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.http_status or self.error}"
