"""The ledger's monthly partitions: made ahead, and counted, so that rows do not pile up in the default one."""

from datetime import UTC, date, datetime

from django.db import connection

MONTHS_AHEAD = 3


def make_partitions(*, first: date | None = None, months: int = MONTHS_AHEAD + 1) -> int:
    """Make partitions for `months` months (UTC), from the month of `first` (default: today). Returns how many were new.

    Rows in the default partition are moved into them. Any number of processes may call this at any time.
    """
    first = first or datetime.now(UTC).date()
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_make_partitions(%s, %s)", [first, months])
        return int(cursor.fetchone()[0])


def rows_without_a_month() -> int:
    """How many rows the default partition holds. More than 0 means that a partition was not made in time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM billing_usagerecord_default")
        return int(cursor.fetchone()[0])


def months_with_a_partition() -> list[date]:
    """The first days of the months that have a partition of their own, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT to_date(substring(relid::text FROM 'y(\\d{4}m\\d{2})$'), 'YYYY\"m\"MM') "
            "FROM pg_partition_tree('billing_usagerecord') "
            "WHERE relid::text ~ '^billing_usagerecord_y\\d{4}m\\d{2}$' ORDER BY 1"
        )
        return [month for (month,) in cursor.fetchall()]
