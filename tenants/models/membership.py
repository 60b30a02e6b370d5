"""The people who may use a tenant's portal, and their roles."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from tenants.models.tenant import Tenant


class Role(models.TextChoices):
    VIEWER = "viewer", "Viewer: sees usage and spend"
    DEVELOPER = "developer", "Developer: also creates and revokes keys"
    OWNER = "owner", "Owner: also invites people and sets up webhooks"


class Membership(models.Model):
    """One person's role at one tenant."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "portal member"
        ordering = ["tenant", "user"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "user"], name="tenants_membership_unique"),
            models.CheckConstraint(
                condition=Q(role__in=Role.values), name="tenants_membership_role_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} at {self.tenant}: {self.role}"
