"""Invitations to the portal: a link that is mailed only to its address, and works once.

Opening the link proves that the address is one's own. So the inviting customer never sees it; if no email can be sent,
staff hand it over.
"""

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.mail import EmailMessage
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from gateway_project.outgoing_email import one_line, public_link, send
from tenants.models import Invitation, Membership, Role, Tenant
from tenants.people.email_limits import DAY, EmailLimit, count
from tenants.people.verified_emails import mark_verified

VALID = timedelta(days=7)
MOST_FOR_A_TENANT = 20
MOST_FOR_AN_ADDRESS = 5
MOST_FOR_AN_ADDRESS_BY_ALL = 20


class AccountExists(Exception):
    """The invited address has an account already, which has to log in to join."""


@transaction.atomic
def invite(*, tenant: Tenant, email: str, role: str, invited_by: User | None) -> tuple[Invitation, str]:
    """Make an invitation, which replaces an open one to the same address. Returns it and its token, which is not
    stored.

    `invited_by` is empty for the operator's own. Raises PermissionDenied if that person is not an owner, and
    TooManyEmails, except for staff.
    """
    _one_at_a_time(tenant.pk)
    if not _may_invite(invited_by, tenant):
        raise PermissionDenied
    email = address_of(email)
    if invited_by is not None and not invited_by.is_staff:
        count(_limits(tenant, email))
    for replaced in _open_ones(tenant).filter(email__iexact=email).select_for_update():
        replaced.delete()
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        tenant=tenant,
        email=email,
        role=role,
        digest=digest_of(token),
        invited_by=invited_by,
        expires_at=timezone.now() + VALID,
    )
    return invitation, token


@transaction.atomic
def renew(invitation: Invitation, *, limited: bool = True) -> str | None:
    """Replace the link by a new one, valid for another week. `None` if it was accepted or withdrawn meanwhile.

    Raises TooManyEmails if `limited`, which it is not for staff.
    """
    _one_at_a_time(invitation.tenant_id)
    row = Invitation.objects.select_for_update().filter(pk=invitation.pk, accepted_at=None).first()
    if row is None:
        return None
    if limited:
        count(_limits(row.tenant, row.email))
    token = secrets.token_urlsafe(32)
    row.digest, row.expires_at, row.emailed_at = digest_of(token), timezone.now() + VALID, None
    row.save(update_fields=["digest", "expires_at", "emailed_at"])
    return token


@transaction.atomic
def withdraw(invitation: Invitation) -> bool:
    """Delete the invitation; False if it was accepted or withdrawn meanwhile."""
    row = Invitation.objects.select_for_update().filter(pk=invitation.pk, accepted_at=None).first()
    if row is None:
        return False
    row.delete()
    return True


def withdraw_made_by(user: User, *, tenant: Tenant) -> None:
    """Withdraw what `user` has invited, in the transaction in which they stop being an owner."""
    for row in _open_ones(tenant).filter(invited_by=user).select_for_update():
        row.delete()


def withdraw_made_to(user: User, *, tenant: Tenant) -> None:
    """Withdraw the invitations to `user`, so that someone who was removed cannot come back by an old link."""
    to = Q(email__iexact=user.username)
    if user.email:
        to |= Q(email__iexact=user.email)
    for row in _open_ones(tenant).filter(to).select_for_update():
        row.delete()


def send_link(invitation: Invitation, token: str) -> None:
    """Mail the link. Raises EmailNotSent; then the invitation stays open, and can be sent again."""
    send(
        EmailMessage(
            subject=one_line(f"Your invitation to {invitation.tenant.name}"),
            body=(
                f"You have been invited to join {one_line(invitation.tenant.name)} as {invitation.role}.\n"
                f"This link works once, until {invitation.expires_at:%d %B %Y}:\n\n{link_of(token)}\n\n"
                "If you did not expect this, ignore this email.\n"
            ),
            to=[invitation.email],
        )
    )
    # Only if the link is still this one: somebody may have renewed it meanwhile.
    Invitation.objects.filter(pk=invitation.pk, digest=digest_of(token)).update(emailed_at=timezone.now())


def link_of(token: str) -> str:
    return public_link(reverse("portal:join", args=[token]))


def open_invitation(token: str) -> Invitation | None:
    """The invitation of a link; `None` if the link is wrong, used, withdrawn or expired."""
    invitation = (
        Invitation.objects.select_related("tenant", "invited_by")
        .filter(digest=digest_of(token), accepted_at=None, expires_at__gt=timezone.now())
        .filter(tenant__deleted_at=None)
        .first()
    )
    if invitation is None or not _may_invite(invitation.invited_by, invitation.tenant):
        return None
    return invitation


def accounts_of(email: str) -> QuerySet[User]:
    """The accounts with this address."""
    return User.objects.filter(Q(username__iexact=email) | Q(email__iexact=email))


def is_for(invitation: Invitation, user: User) -> bool:
    return accounts_of(invitation.email).filter(pk=user.pk).exists()


@transaction.atomic
def accept(*, token: str, user: User) -> Membership | None:
    """Give `user` the invitation's role, in place of one they have, except for the last owner.

    `None` if the link no longer works, or is for somebody else.
    """
    invitation = _take(token)
    if invitation is None or not is_for(invitation, user):
        transaction.set_rollback(True)
        return None
    return _join(invitation, user)


@transaction.atomic
def accept_as_new(*, token: str, password: str) -> Membership | None:
    """Accept with a new account for the invited address. Raises AccountExists."""
    invitation = _take(token)
    if invitation is None:
        return None
    if accounts_of(invitation.email).exists():
        raise AccountExists
    try:
        with transaction.atomic():
            user = User.objects.create_user(invitation.email, email=invitation.email, password=password)
    except IntegrityError as error:  # made just now, with another tenant's invitation
        raise AccountExists from error
    return _join(invitation, user)


def _take(token: str) -> Invitation | None:
    """Use the link up. `None` if it was used or withdrawn, or its author removed, before."""
    invitation = open_invitation(token)
    if invitation is None:
        return None
    _lock_owners(invitation.tenant)
    row = Invitation.objects.select_for_update().filter(pk=invitation.pk, digest=invitation.digest).first()
    if (
        row is None
        or row.accepted_at is not None
        or not _may_invite(invitation.invited_by, invitation.tenant)
    ):
        return None
    row.accepted_at = timezone.now()
    row.save(update_fields=["accepted_at"])
    return row


def _join(invitation: Invitation, user: User) -> Membership:
    owners = Membership.objects.filter(tenant=invitation.tenant, role=Role.OWNER)
    is_last_owner = [owner.user_id for owner in owners] == [user.pk]
    role = Role.OWNER if is_last_owner else invitation.role
    membership, _ = Membership.objects.update_or_create(
        tenant=invitation.tenant, user=user, defaults={"role": role}
    )
    if role != Role.OWNER:
        withdraw_made_by(user, tenant=invitation.tenant)
    if invitation.emailed_at is not None:
        mark_verified(user, invitation.email)
    return membership


def _may_invite(user: User | None, tenant: Tenant) -> bool:
    """Whether `user` may give roles of `tenant` now: staff and its owners may."""
    if user is None:
        return True
    user = User.objects.filter(pk=user.pk, is_active=True).first()
    if user is None:
        return False
    return user.is_staff or Membership.objects.filter(tenant=tenant, user=user, role=Role.OWNER).exists()


def _one_at_a_time(tenant_id: int) -> None:
    """Lock the tenant's invitations, since two at once to the same address would collide."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)


def _lock_owners(tenant: Tenant) -> None:
    """Lock the tenant's owners. Removing one takes the same lock, so whichever comes second sees the first."""
    list(Membership.objects.select_for_update().filter(tenant=tenant, role=Role.OWNER).order_by("pk"))


def _open_ones(tenant: Tenant) -> QuerySet[Invitation]:
    return Invitation.objects.filter(tenant=tenant, accepted_at=None)


def _limits(tenant: Tenant, email: str) -> list[EmailLimit]:
    to_one = "invitations to one address"
    return [
        EmailLimit("invitations from one organisation", f"invitation:{tenant.pk}", MOST_FOR_A_TENANT),
        EmailLimit(to_one, f"invitation:{tenant.pk}:{email.lower()}", MOST_FOR_AN_ADDRESS, DAY),
        # Over all tenants, and higher than the one before, so that no tenant uses up another's.
        EmailLimit(to_one, f"invitation:{email.lower()}", MOST_FOR_AN_ADDRESS_BY_ALL, DAY),
    ]


def address_of(email: str) -> str:
    """The address as the account's name will be."""
    return User.normalize_username(email.strip()).lower()


def digest_of(token: str) -> str:
    """The digest by which a link's token is stored."""
    return hashlib.sha256(token.encode()).hexdigest()
