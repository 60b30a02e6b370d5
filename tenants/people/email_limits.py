"""Limits on emails that customers can cause, counted in rows that all processes share.

They are in PostgreSQL and not in Redis, since a flushed Redis would start every count again, and so that an email is
counted in the transaction it belongs to. Windows are fixed, so up to twice the number may pass around the end of one.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from django.db import connection, transaction
from django.utils import timezone

HOUR = 3600
DAY = 24 * HOUR
WEEK = 7 * DAY
_SPANS = {HOUR: "hour", DAY: "day", WEEK: "week"}
_COUNT = """
INSERT INTO tenants_emailcount AS counted (scope, ends_at, count) VALUES (%s, %s, 1)
ON CONFLICT (scope, ends_at) DO UPDATE SET count = counted.count + 1 WHERE counted.count < %s
RETURNING count
"""
# A few at a time, skipping those that another process is removing.
_FORGET = """
DELETE FROM tenants_emailcount WHERE id IN (
    SELECT id FROM tenants_emailcount WHERE ends_at < %s LIMIT 100 FOR UPDATE SKIP LOCKED
)
"""


class EmailLimit(msgspec.Struct, frozen=True):
    """At most `most` emails of one kind in a window. `about` names the kind, such as “invitations to this address”."""

    about: str
    scope: str
    most: int
    seconds: int = HOUR


class TooManyEmails(Exception):
    """A limit is reached; the message is for the person who caused it. `retry_after`: seconds until its window ends."""

    def __init__(self, limit: EmailLimit, ends_at: datetime) -> None:
        self.retry_after = max(1, int((ends_at - timezone.now()).total_seconds()))
        wait = (
            f"in {-(-self.retry_after // 60)} minutes"
            if self.retry_after <= HOUR
            else f"after {ends_at:%d %B, %H:%M} UTC"
        )
        super().__init__(
            f"Limit reached: {limit.most} {limit.about} per {_SPANS[limit.seconds]}. Try again {wait}."
        )


@transaction.atomic
def count(limits: Iterable[EmailLimit]) -> None:
    """Count one email against each of `limits`. Raises TooManyEmails, and then counts none."""
    # Always in the same order, so that two processes do not deadlock.
    for limit in sorted(limits, key=lambda each: each.scope):
        _count_one(limit)


def _count_one(limit: EmailLimit) -> None:
    now = int(timezone.now().timestamp())
    ends_at = datetime.fromtimestamp(now - now % limit.seconds + limit.seconds, UTC)
    scope = hashlib.sha256(limit.scope.encode()).hexdigest()
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [scope, ends_at, limit.most])
        row = cursor.fetchone()
        if row is None:
            raise TooManyEmails(limit, ends_at)
        if row[0] == 1:
            cursor.execute(_FORGET, [timezone.now()])
