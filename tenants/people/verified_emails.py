"""Whether an account's address is known to be its owner's: by a link that was mailed there and used."""

from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, Q

from tenants.models import VerifiedEmail


def mark_verified(user: User, email: str) -> None:
    VerifiedEmail.objects.update_or_create(user=user, defaults={"email": email})


def has_verified_email(account: str = "") -> Exists:
    """To annotate rows with: of the address their account has now, or is called by.

    `account` leads from a row to its account, as in `user__`.
    """
    own = Q(email__iexact=OuterRef(f"{account}email")) | Q(email__iexact=OuterRef(f"{account}username"))
    return Exists(VerifiedEmail.objects.filter(own, user=OuterRef(f"{account}pk")))
