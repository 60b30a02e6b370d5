"""Invitations to the portal: a link by mail that works once."""

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from tenants.models import Invitation, Membership, Tenant

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
            digest=_digest(token),
            invited_by=invited_by,
            expires_at=timezone.now() + VALID,
        )
    return token


def open_invitation(token: str) -> Invitation | None:
    """The invitation behind a link; `None` when there is none, it was used, or its time is over."""
    return (
        Invitation.objects.select_related("tenant")
        .filter(digest=_digest(token), accepted_at=None, expires_at__gt=timezone.now())
        .filter(tenant__deleted_at=None)
        .first()
    )


@transaction.atomic
def accept(*, token: str, user: User) -> Membership | None:
    """Give `user` the invitation's role; a role that is held already is changed to it."""
    invitation = open_invitation(token)
    if invitation is None:
        return None
    taken = Invitation.objects.filter(pk=invitation.pk, accepted_at=None).update(accepted_at=timezone.now())
    if not taken:
        return None
    membership, _ = Membership.objects.update_or_create(
        tenant=invitation.tenant, user=user, defaults={"role": invitation.role}
    )
    return membership


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
