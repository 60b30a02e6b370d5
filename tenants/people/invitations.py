"""Invitations to the portal: a link that is mailed to its address alone and works once.

Whoever opens the link has shown that the address is theirs. So the inviting customer never sees it; where no email can
be sent, staff hand it over.
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
    """The invited address has an account: it joins by logging in, not by a new password."""


@transaction.atomic
def invite(*, tenant: Tenant, email: str, role: str, invited_by: User | None) -> tuple[Invitation, str]:
    """An invitation, in place of an open one to the same address, and its token, which is not kept.

    Raises PermissionDenied for who is not an owner, and TooManyEmails; staff are not limited. `invited_by` is empty
    for the operator's own.
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
    """A new link in place of the old one, valid for another week; `None` if it was accepted or withdrawn meanwhile.

    Raises TooManyEmails, if it is `limited`: who is staff is not.
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
    """End its link; False if it was accepted or withdrawn meanwhile."""
    row = Invitation.objects.select_for_update().filter(pk=invitation.pk, accepted_at=None).first()
    if row is None:
        return False
    row.delete()
    return True


def withdraw_made_by(user: User, *, tenant: Tenant) -> None:
    """Who is not an owner any more has invited nobody. To be called in the transaction that makes it so."""
    for row in _open_ones(tenant).filter(invited_by=user).select_for_update():
        row.delete()


def withdraw_made_to(user: User, *, tenant: Tenant) -> None:
    """Who is removed does not come back by a link of before."""
    to = Q(email__iexact=user.username)
    if user.email:
        to |= Q(email__iexact=user.email)
    for row in _open_ones(tenant).filter(to).select_for_update():
        row.delete()


def send_link(invitation: Invitation, token: str) -> None:
    """Mail it. Raises EmailNotSent; the invitation stays open then, and can be sent again."""
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
    # Only of this link: somebody may have made a newer one meanwhile.
    Invitation.objects.filter(pk=invitation.pk, digest=digest_of(token)).update(emailed_at=timezone.now())


def link_of(token: str) -> str:
    return public_link(reverse("portal:join", args=[token]))


def open_invitation(token: str) -> Invitation | None:
    """The invitation behind a link; `None` when there is none, or it was used, withdrawn, or has expired."""
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
    """Accounts that go by this address."""
    return User.objects.filter(Q(username__iexact=email) | Q(email__iexact=email))


def is_for(invitation: Invitation, user: User) -> bool:
    return accounts_of(invitation.email).filter(pk=user.pk).exists()


@transaction.atomic
def accept(*, token: str, user: User) -> Membership | None:
    """Give `user` the invitation's role; a role that is held already is changed to it, except the last owner's.

    `None` if the link does not work any more, or is for somebody else.
    """
    invitation = _take(token)
    if invitation is None or not is_for(invitation, user):
        transaction.set_rollback(True)
        return None
    return _join(invitation, user)


@transaction.atomic
def accept_as_new(*, token: str, password: str) -> Membership | None:
    """The same with a new account of the invited address. Raises AccountExists."""
    invitation = _take(token)
    if invitation is None:
        return None
    if accounts_of(invitation.email).exists():
        raise AccountExists
    try:
        with transaction.atomic():
            user = User.objects.create_user(invitation.email, email=invitation.email, password=password)
    except IntegrityError as error:  # made just now, by somebody with an invitation of another tenant
        raise AccountExists from error
    return _join(invitation, user)


def _take(token: str) -> Invitation | None:
    """Use the link up, unless somebody was faster: with using it, withdrawing it, or removing its author."""
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
    """Whether `user` may give away roles of `tenant` now: staff, and its owners, whose role no other exceeds."""
    if user is None:
        return True
    user = User.objects.filter(pk=user.pk, is_active=True).first()
    if user is None:
        return False
    return user.is_staff or Membership.objects.filter(tenant=tenant, user=user, role=Role.OWNER).exists()


def _one_at_a_time(tenant_id: int) -> None:
    """Two at once to the same address would collide."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)


def _lock_owners(tenant: Tenant) -> None:
    """Removing an owner takes the same lock: either comes first, and the other sees it."""
    list(Membership.objects.select_for_update().filter(tenant=tenant, role=Role.OWNER).order_by("pk"))


def _open_ones(tenant: Tenant) -> QuerySet[Invitation]:
    return Invitation.objects.filter(tenant=tenant, accepted_at=None)


def _limits(tenant: Tenant, email: str) -> list[EmailLimit]:
    to_one = "invitations to one address"
    return [
        EmailLimit("invitations from one organisation", f"invitation:{tenant.pk}", MOST_FOR_A_TENANT),
        EmailLimit(to_one, f"invitation:{tenant.pk}:{email.lower()}", MOST_FOR_AN_ADDRESS, DAY),
        # Of several tenants: above the one before, so that none of them uses up another's.
        EmailLimit(to_one, f"invitation:{email.lower()}", MOST_FOR_AN_ADDRESS_BY_ALL, DAY),
    ]


def address_of(email: str) -> str:
    """As the account that comes of it is called."""
    return User.normalize_username(email.strip()).lower()


def digest_of(token: str) -> str:
    """What is kept of a link's token."""
    return hashlib.sha256(token.encode()).hexdigest()
