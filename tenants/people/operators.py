"""Make, find and replace operators' tokens for the control API. A copy of the database reveals none of them."""

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from tenants.models import OperatorToken

PREFIX = "tnop_"
SHOWN = 12
# Written at most this often, not with every request.
LAST_USED_EVERY = timedelta(minutes=1)


@transaction.atomic
def rotate_token(user: User) -> str:
    """Make a token for `user`, which replaces all earlier ones. It is returned once, and only its digest is stored."""
    for old in OperatorToken.objects.select_for_update().filter(user=user):
        old.delete()
    token = PREFIX + secrets.token_urlsafe(32)
    OperatorToken.objects.create(user=user, prefix=token[:SHOWN], digest=digest_of(token))
    return token


def find_token(token: str) -> OperatorToken | None:
    """The row of a token of an active account, marked as used now; `None` if there is none."""
    found = OperatorToken.objects.select_related("user").filter(digest=digest_of(token)).first()
    if found is None or not found.user.is_active:
        return None
    now = timezone.now()
    if found.last_used_at is None or found.last_used_at < now - LAST_USED_EVERY:
        OperatorToken.objects.filter(pk=found.pk).update(last_used_at=now)
    return found


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
