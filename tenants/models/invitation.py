"""An invitation to the portal, sent as a link by mail."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from tenants.models.membership import Role
from tenants.models.tenant import Tenant


class Invitation(models.Model):
    """One link. Only the SHA-256 of its token is kept; it works once, until it expires."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.VIEWER)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                "tenant",
                Lower("email"),
                condition=Q(accepted_at=None),
                name="tenants_invitation_one_open_per_person",
                violation_error_message="This person has an open invitation already.",
            ),
            models.CheckConstraint(
                condition=Q(role__in=Role.values), name="tenants_invitation_role_is_known"
            ),
            models.CheckConstraint(
                condition=Q(digest__regex=r"^[0-9a-f]{64}$"), name="tenants_invitation_digest_is_sha256"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.tenant}"
