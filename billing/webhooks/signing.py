"""Signatures by Standard Webhooks 1.0.0, whose libraries can verify them."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from billing.models import WebhookEndpoint
from gateway_project.ground.secrets import decrypt, encrypt

PREFIX = "whsec_"
# How long after a rotation the old secret signs as well.
OVERLAP = timedelta(hours=24)


def new_secret() -> str:
    """A new secret: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(body: bytes, *, event_id: str, timestamp: int, keys: Iterable[str]) -> str:
    """The `webhook-signature` header: one signature for each of the secrets `keys`."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    return " ".join(f"v1,{_signature(signed, key)}" for key in keys)


def _signature(signed: bytes, key: str) -> str:
    digest = hmac.digest(base64.b64decode(key.removeprefix(PREFIX)), signed, hashlib.sha256)
    return base64.b64encode(digest).decode()


def secrets_of(endpoint: WebhookEndpoint) -> list[str]:
    """The secrets that sign now, the newest first."""
    found = [decrypt(endpoint.secret)]
    until = endpoint.previous_secret_until
    if endpoint.previous_secret and until and until > timezone.now():
        found.append(decrypt(endpoint.previous_secret))
    return found


def give_secret(endpoint: WebhookEndpoint) -> str:
    """Put a new secret, encrypted, into an endpoint that is not saved yet. Returns it in plain text, once."""
    secret = new_secret()
    endpoint.secret = encrypt(secret)
    return secret


@transaction.atomic
def rotate_secret(endpoint: WebhookEndpoint) -> str:
    """Give the endpoint a new secret and return it. The old one signs for another day, while the receiver switches."""
    # Locked: of two rotations at once, the second keeps the secret of the first as the old one.
    row = WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)
    endpoint.previous_secret = row.secret
    endpoint.previous_secret_until = timezone.now() + OVERLAP
    secret = give_secret(endpoint)
    endpoint.save(update_fields=["secret", "previous_secret", "previous_secret_until", "updated_at"])
    return secret
