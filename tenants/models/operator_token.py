"""Operators' tokens for the control API."""

from django.conf import settings
from django.db import models
from django.db.models import Q


class OperatorToken(models.Model):
    """One token of a staff account. Only its SHA-256 is stored, and its first characters to recognize it.

    Revoking a token deletes its row; the audit trail records who did it.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    prefix = models.CharField(max_length=12, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "API token"
        ordering = ["-created_at"]
        default_permissions = ("view", "delete")
        constraints = [
            models.CheckConstraint(
                condition=Q(digest__regex=r"^[0-9a-f]{64}$"), name="tenants_operatortoken_digest_is_sha256"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}… of {self.user}"
