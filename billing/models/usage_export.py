"""The log of exports: who took what out, and how to check it."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models


class ExportStatus(models.TextChoices):
    RUNNING = "running", "Running"
    COMPLETE = "complete", "Complete"
    FAILED = "failed", "Failed"


class UsageExport(models.Model):
    """One export. `digest` is the SHA-256 of its rows as CSV, which can be computed from the ledger again.

    `file_digest` is the SHA-256 of the file as it was sent. `totals` are its control totals.
    """

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="usage_exports"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    status = models.CharField(max_length=10, choices=ExportStatus.choices, default=ExportStatus.RUNNING)
    format = models.CharField(max_length=10, default="csv")
    filters = models.JSONField(encoder=DjangoJSONEncoder, default=dict)
    columns = ArrayField(models.CharField(max_length=50), default=list)
    timezone = models.CharField("time zone", max_length=64, default="UTC")
    rows = models.PositiveBigIntegerField(null=True, blank=True)
    totals = models.JSONField(encoder=DjangoJSONEncoder, default=dict)
    digest = models.CharField(max_length=64, blank=True, default="")
    file_digest = models.CharField(max_length=64, blank=True, default="")
    error = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        ordering = ["-created_at"]
        default_permissions = ("view", "add")

    def __str__(self) -> str:
        return f"export #{self.pk}"
