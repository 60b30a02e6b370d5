"""Find secrets at rest that no key of SECRETS_KEYS decrypts. Their webhooks are not sent, their upstreams not called.

That happens if a key was removed before `rotate_secrets` ran, or if SECRET_KEY was changed while SECRETS_KEYS, which
defaults to it, was not set.
"""

from collections.abc import Sequence
from typing import Any

import psycopg
from django.core.checks import CheckMessage, Warning
from django.db import DatabaseError, connection, models
from django.db.models import Expression, QuerySet, Value
from django.db.models.functions import Cast

from billing.management.commands.rotate_secrets import ENCRYPTED_FIELDS
from gateway_project.ground.secrets import UnreadableSecret, decrypt

_LIBPQ = {"dbname", "host", "port", "user", "password", "sslmode", "sslrootcert", "sslcert", "sslkey"}
# Rows checked of each kind, the oldest first: those a new key most likely does not decrypt. Some 20 µs each.
LOOKED_AT = 1000
MOST_FIELDS = max(len(fields) for _, fields in ENCRYPTED_FIELDS)


def unreadable_secrets() -> list[str]:
    """The rows with such a secret, as `webhook endpoint 3`. One query for all kinds."""
    kinds = [_secrets_of(model, fields) for model, fields in ENCRYPTED_FIELDS]
    return [
        f"{kind} {pk}"
        for kind, pk, *secrets in kinds[0].union(*kinds[1:], all=True)
        if not all(_opens(secret) for secret in secrets if secret)
    ]


def _secrets_of(model: type[models.Model], fields: Sequence[str]) -> QuerySet[Any, tuple[Any, ...]]:
    """Kind, primary key and secrets of the model's rows, in as many columns as the kind with the most secrets has."""
    columns: list[Expression] = [Cast(name, models.TextField()) for name in fields]
    columns += [Value("", output_field=models.TextField())] * (MOST_FIELDS - len(fields))
    kind = Value(str(model._meta.verbose_name), output_field=models.TextField())
    named = {f"secret_{number}": column for number, column in enumerate(columns)}
    rows = model._default_manager.annotate(kind=kind, **named).order_by("pk")
    return rows.values_list("kind", "pk", *named)[:LOOKED_AT]


def _opens(secret: str) -> bool:
    try:
        decrypt(secret)
    except UnreadableSecret:
        return False
    return True


def check_secrets(**_: Any) -> list[CheckMessage]:
    """Django's system check, which `manage.py check` and every other command run at their start."""
    try:
        if not _database_answers():
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
            hint="Add the key they were encrypted with to SECRETS_KEYS, after the current one, and run "
            "`manage.py rotate_secrets`. If that key is lost, rotate those webhooks' secrets and enter those API keys "
            "again. Without SECRETS_KEYS, secrets are encrypted with SECRET_KEY: check whether it was changed.",
            id="tenantry.W001",
        )
    ]


def _database_answers() -> bool:
    """Whether PostgreSQL answers. Bypasses the pool, which would wait for it and log lines of its own."""
    parameters = {k: v for k, v in connection.get_connection_params().items() if k in _LIBPQ}
    try:
        psycopg.connect(**parameters | {"connect_timeout": 2}).close()
    except psycopg.Error:
        return False
    return True
