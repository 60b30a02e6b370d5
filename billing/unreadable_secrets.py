"""Secrets at rest that none of SECRETS_KEYS opens: their webhooks are not sent, their upstreams not asked.

It happens where a key was taken away before `rotate_secrets` ran, or where SECRET_KEY was changed and SECRETS_KEYS was
never set, which is then SECRET_KEY.
"""

from typing import Any

import psycopg
from django.core.checks import CheckMessage, Warning
from django.db import DatabaseError, connection

from billing.management.commands.rotate_secrets import PLACES
from gateway_project.ground.secrets import UnreadableSecret, decrypt

_LIBPQ = {"dbname", "host", "port", "user", "password", "sslmode", "sslrootcert", "sslcert", "sslkey"}
# Of a kind; the oldest first, which a new key is most likely not to open. Some 20 µs each.
LOOKED_AT = 1000


def unreadable_secrets() -> list[str]:
    """The rows, as `webhook endpoint 3`."""
    found = []
    for model, fields in PLACES:
        for row in model.objects.order_by("pk").values_list("pk", *fields)[:LOOKED_AT]:
            pk, *secrets = row
            if not all(_opens(secret) for secret in secrets if secret):
                found.append(f"{model._meta.verbose_name} {pk}")
    return found


def _opens(secret: str) -> bool:
    try:
        decrypt(secret)
    except UnreadableSecret:
        return False
    return True


def check_secrets(**_: Any) -> list[CheckMessage]:
    """Django's system check: said by `manage.py check`, and by every other command as it starts."""
    try:
        if not _is_there():
            return []
        found = unreadable_secrets()
    except DatabaseError:
        return []  # not migrated yet
    if not found:
        return []
    named = ", ".join(found[:3]) + (" …" if len(found) > 3 else "")
    return [
        Warning(
            f"{len(found)} secrets cannot be decrypted: {named}.",
            hint="Put the key they were encrypted with into SECRETS_KEYS, behind the present one, and run "
            "`manage.py rotate_secrets`. If it is lost, rotate those webhooks' secrets and enter those keys again. "
            "Without SECRETS_KEYS it is SECRET_KEY that encrypts: was that changed?",
            id="tenantry.W001",
        )
    ]


def _is_there() -> bool:
    """Whether PostgreSQL answers, asked past the pool, which would wait for it and write lines of its own."""
    parameters = {k: v for k, v in connection.get_connection_params().items() if k in _LIBPQ}
    try:
        psycopg.connect(**parameters | {"connect_timeout": 2}).close()
    except psycopg.Error:
        return False
    return True
