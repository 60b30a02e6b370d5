"""An invitation to the portal: a link for one address."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from tenants.models.membership import Role
from tenants.models.tenant import Tenant

LONGEST_ADDRESS = 150  # the address becomes an account's name


class Invitation(models.Model):
    """One link, which works once until it expires. Only the SHA-256 of its token is stored. Withdrawing deletes the
    row.

    `emailed_at` is empty until the link was mailed, for example without a mail server.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.VIEWER)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    # Cascading: without its author an invitation would look like the operator's own.
    invited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    emailed_at = models.DateTimeField(null=True, blank=True, editable=False)
    accepted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                "tenant",
                Lower("email"),
                condition=Q(accepted_at=None),
                name="tenants_invitation_one_open_per_person",
                violation_error_message="This person already has an open invitation.",
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

    def clean(self) -> None:
        if len(self.email) > LONGEST_ADDRESS:
            raise ValidationError({"email": f"Use an address of at most {LONGEST_ADDRESS} characters."})

    @property
    def is_expired(self) -> bool:
        return self.accepted_at is None and self.expires_at <= timezone.now()
