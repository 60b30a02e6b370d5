"""API keys: shown once, stored as a digest, rotated with an overlap, revoked at once."""

import hashlib
import secrets
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from tenants.models import ApiKey, Tenant

KEY_START = "tn_"
RANDOM_BYTES = 32
VISIBLE = 11  # characters of a key that are stored readable, with KEY_START: 48 of its 256 bits


class IssuedKey(msgspec.Struct, frozen=True):
    """A new key in plain text, which exists nowhere else, and its row."""

    key: str
    api_key: ApiKey


def digest_of(key: str) -> str:
    """The hex SHA-256 by which a key is stored and found. The key is random, so it needs no salt and no slow hash."""
    return hashlib.sha256(key.encode()).hexdigest()


def refuse_past(expires_at: datetime | None) -> None:
    """Raises ValidationError for an expiry in the past."""
    if expires_at is not None and expires_at <= timezone.now():
        raise ValidationError(
            "This time has passed. Choose a later time, or leave it empty for a key that does not expire. "
            "To end a key now, revoke it."
        )


def issue_key(
    *,
    tenant: Tenant,
    name: str,
    expires_at: datetime | None = None,
    max_requests_per_minute: int | None = None,
    monthly_budget_usd: Decimal | None = None,
    created_by: User | None = None,
) -> IssuedKey:
    """Make a key for `tenant`. Its plain text can never be read again."""
    key = KEY_START + secrets.token_urlsafe(RANDOM_BYTES)
    row = ApiKey.objects.create(
        tenant=tenant,
        name=name,
        prefix=key[:VISIBLE],
        digest=digest_of(key),
        expires_at=expires_at,
        max_requests_per_minute=max_requests_per_minute,
        monthly_budget_usd=monthly_budget_usd,
        created_by=created_by,
    )
    return IssuedKey(key=key, api_key=row)


@transaction.atomic
def rotate_key(
    *, api_key: ApiKey, overlap: timedelta = timedelta(0), created_by: User | None = None
) -> IssuedKey:
    """Make a key with the same name and limits. The old one still works for `overlap`.

    An earlier expiry of the old key stays, also for the new one. Raises ValueError for a key that is revoked, has
    expired or was rotated before.
    """
    old = ApiKey.objects.select_for_update(of=("self",)).select_related("tenant").get(pk=api_key.pk)
    if old.state != "live" or old.replaced_by_id:
        raise ValueError(f"{old} has expired or was already revoked or rotated. Create a new key instead.")
    issued = issue_key(
        tenant=old.tenant,
        name=old.name,
        expires_at=old.expires_at,
        max_requests_per_minute=old.max_requests_per_minute,
        monthly_budget_usd=old.monthly_budget_usd,
        created_by=created_by,
    )
    now = timezone.now()
    old.replaced_by = issued.api_key
    if overlap > timedelta(0):
        old.expires_at = min(old.expires_at or now + overlap, now + overlap)
    else:
        old.revoked_at = now
    old.save(update_fields=["replaced_by", "expires_at", "revoked_at"])
    return issued


@transaction.atomic
def revoke_key(*, api_key: ApiKey) -> None:
    """Refuse the key from its next request on. Revoking it again keeps the first time."""
    row = ApiKey.objects.select_for_update().get(pk=api_key.pk)
    if row.revoked_at is None:
        row.revoked_at = timezone.now()
        row.save(update_fields=["revoked_at"])
