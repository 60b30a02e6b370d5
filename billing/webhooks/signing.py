"""Signatures as Standard Webhooks 1.0.0 has them: any of its libraries checks them."""

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
# How long the old secret signs too, after a rotation.
OVERLAP = timedelta(hours=24)


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64."""
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
    """Put a new secret into an endpoint that is about to be saved first; returned once, kept encrypted."""
    secret = new_secret()
    endpoint.secret = encrypt(secret)
    return secret


@transaction.atomic
def rotate_secret(endpoint: WebhookEndpoint) -> str:
    """A new secret; the old one signs along for a day, so that the receiver can change over in peace."""
    # The one in force: of two rotations at once the second keeps what the first has just shown.
    row = WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)
    endpoint.previous_secret = row.secret
    endpoint.previous_secret_until = timezone.now() + OVERLAP
    secret = give_secret(endpoint)
    endpoint.save(update_fields=["secret", "previous_secret", "previous_secret_until", "updated_at"])
    return secret
