"""Remove members, or change their role. Invitations made by someone who stops being an owner are withdrawn."""

from django.contrib.auth.models import User
from django.db import transaction

from tenants.models import Invitation, Membership, Role
from tenants.people.invitations import withdraw_made_by, withdraw_made_to


class LastOwner(Exception):
    """Refused: a tenant must keep at least one owner."""

    def __init__(self) -> None:
        super().__init__("The last owner cannot be removed. Make someone else an owner first.")


@transaction.atomic
def remove_member(membership: Membership, *, keep_an_owner: bool = True) -> None:
    """Remove a member, with the invitations by and to them. Raises LastOwner."""
    tenant, user = membership.tenant, membership.user
    # First of all and in one order, as when an invitation is accepted.
    owners = list(
        Membership.objects.select_for_update().filter(tenant=tenant, role=Role.OWNER).order_by("pk")
    )
    if keep_an_owner and [owner.pk for owner in owners] == [membership.pk]:
        raise LastOwner
    membership.delete()
    withdraw_made_by(user, tenant=tenant)
    withdraw_made_to(user, tenant=tenant)


@transaction.atomic
def set_role(membership: Membership, role: str) -> None:
    """Change a member's role. If they stop being an owner, their invitations are withdrawn. Raises LastOwner."""
    list(
        Membership.objects.select_for_update()
        .filter(tenant=membership.tenant, role=Role.OWNER)
        .order_by("pk")
    )
    membership.role = role
    membership.save(update_fields=["role"])
    if role != Role.OWNER:
        withdraw_made_by(membership.user, tenant=membership.tenant)


@transaction.atomic
def end_invitations_of(user: User) -> None:
    """Withdraw the open invitations of a deactivated account or former staff, except to tenants they own."""
    rows = Invitation.objects.filter(invited_by=user, accepted_at=None)
    if user.is_active:
        rows = rows.exclude(tenant__memberships__in=Membership.objects.filter(user=user, role=Role.OWNER))
    for row in rows.select_for_update(of=("self",)):
        row.delete()
