"""Whether an account's address is verified: a link that was mailed there was used."""

from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, Q

from tenants.models import VerifiedEmail


def mark_verified(user: User, email: str) -> None:
    VerifiedEmail.objects.update_or_create(user=user, defaults={"email": email})


def has_verified_email(account: str = "") -> Exists:
    """An annotation: whether the account's current address, or its name if that is one, is verified.

    `account` is the path from a row to its account, such as `user__`.
    """
    own = Q(email__iexact=OuterRef(f"{account}email")) | Q(email__iexact=OuterRef(f"{account}username"))
    return Exists(VerifiedEmail.objects.filter(own, user=OuterRef(f"{account}pk")))
