"""Invitations to the portal: a link by mail that works once."""

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.core.mail import send_mail
from django.db import transaction
from django.utils import timezone

from tenants.models import Invitation, Membership, Role, Tenant

VALID = timedelta(days=7)


def invite(*, tenant: Tenant, email: str, role: str, invited_by: User | None) -> str:
    """Make an invitation, in place of an open one to the same person; the token, which is not kept."""
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        Invitation.objects.filter(tenant=tenant, email__iexact=email, accepted_at=None).delete()
        Invitation.objects.create(
            tenant=tenant,
            email=email,
            role=role,
            digest=digest_of(token),
            invited_by=invited_by,
            expires_at=timezone.now() + VALID,
        )
    return token


def open_invitation(token: str) -> Invitation | None:
    """The invitation behind a link; `None` when there is none, it was used, or its time is over."""
    return (
        Invitation.objects.select_related("tenant")
        .filter(digest=digest_of(token), accepted_at=None, expires_at__gt=timezone.now())
        .filter(tenant__deleted_at=None)
        .first()
    )


@transaction.atomic
def accept(*, token: str, user: User) -> Membership | None:
    """Give `user` the invitation's role; a role that is held already is changed to it, except the last owner's."""
    invitation = open_invitation(token)
    if invitation is None:
        return None
    taken = Invitation.objects.filter(pk=invitation.pk, accepted_at=None).update(accepted_at=timezone.now())
    if not taken:
        return None
    owners = Membership.objects.select_for_update().filter(tenant=invitation.tenant, role=Role.OWNER)
    is_last_owner = [owner.user_id for owner in owners] == [user.pk]
    membership, _ = Membership.objects.update_or_create(
        tenant=invitation.tenant,
        user=user,
        defaults={"role": Role.OWNER if is_last_owner else invitation.role},
    )
    return membership


def send_invitation(*, email: str, tenant: Tenant, link: str) -> None:
    """Mail that fails is no reason to fail: the link is shown to whoever invited as well."""
    text = f"You are invited to {tenant.name}. This link works once, for a week:\n\n{link}\n"
    send_mail(f"Your invitation to {tenant.name}", text, None, [email], fail_silently=True)


def digest_of(token: str) -> str:
    """What is kept of a link's token."""
    return hashlib.sha256(token.encode()).hexdigest()
