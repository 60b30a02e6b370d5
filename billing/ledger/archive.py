"""Archive old months of the ledger in files, which are read back before anything is dropped.

A file is CSV, packed with gzip. It can be read without Tenantry, and restored by `manage.py restore_partition`.
Roll-ups and statements stay, so dashboards, budgets and balances do not change.
"""

import gzip
import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from billing.ledger.partitions import make_partitions, months_with_a_partition
from billing.models import LedgerArchive, UsageRecord
from gateway_project.ground.errors import TenantryError

# Closing looks 400 days back for late rows.
KEEP_AT_LEAST_MONTHS = 15
_LOCK_TRIES = 20


class CannotArchive(TenantryError):
    """A month cannot be archived or restored; the message says why and what to do."""

    code = "invalid_request"
    status = 400
    type = "invalid_request_error"


class Written(msgspec.Struct, frozen=True):
    """What a file holds: its rows, the SHA-256 of its CSV, and the SHA-256 of the file itself."""

    rows: int
    digest: str
    file_digest: str


def months_to_archive(*, keep: int, today: date | None = None) -> list[date]:
    """Months with a partition that are older than `keep` whole months, the oldest first. Raises CannotArchive."""
    if keep < KEEP_AT_LEAST_MONTHS:
        raise CannotArchive(
            f"The last {KEEP_AT_LEAST_MONTHS} months cannot be archived: closing periods and late rows need them."
        )
    now = today or timezone.now().date()
    index = now.year * 12 + now.month - 1 - keep
    first_kept = date(index // 12, index % 12 + 1, 1)
    return [month for month in months_with_a_partition() if month < first_kept]


def archive_month(month: date, *, folder: Path) -> LedgerArchive:
    """Write a month's rows into a file, read it back, and only then detach and drop its partition.

    Raises CannotArchive. If the process is killed at any point, the month is either in the database, or complete in the
    file and recorded.
    """
    partition = f"billing_usagerecord_y{month:%Y}m{month:%m}"
    _require_closed(partition, month)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"usage-{month:%Y-%m}.csv.gz"
    draft = file.with_name(file.name + ".part")
    written = _write(partition, draft)
    if _read(draft) != written:
        raise CannotArchive(
            f"{draft} could not be verified after writing. Check the disk for errors and free space."
        )
    draft.replace(file)
    _sync(folder)
    for attempt in range(1, _LOCK_TRIES + 1):
        try:
            return _drop(partition, month, file=file, written=written)
        except OperationalError as error:
            # Others read the ledger. While we wait for our lock, the drain would wait behind us.
            if getattr(error.__cause__, "sqlstate", "") != "55P03" or attempt == _LOCK_TRIES:
                raise
    raise AssertionError("unreachable")


def restore_month(month: date) -> LedgerArchive:
    """Put an archived month back from its file. Raises CannotArchive."""
    archive = LedgerArchive.objects.filter(month=month, restored_at=None).first()
    if archive is None:
        raise CannotArchive(f"{month:%Y-%m} is not archived.")
    file = Path(archive.file)
    if not file.exists():
        raise CannotArchive(f"{file} is missing. Restore it from your backups.")
    if _file_digest(file) != archive.file_digest:
        raise CannotArchive(
            f"{file} has changed since it was archived: its SHA-256 differs. Restore the original from your backups."
        )
    with transaction.atomic(), connection.cursor() as cursor, gzip.open(file) as unpacked:
        make_partitions(first=month, months=1)
        # The file's own columns: a column added since gets its default.
        columns = next(unpacked).decode().strip()
        cursor.execute(
            "CREATE TEMP TABLE restored (LIKE billing_usagerecord INCLUDING DEFAULTS) ON COMMIT DROP"
        )
        with cursor.copy(f"COPY restored ({columns}) FROM STDIN (FORMAT csv)") as copy:
            while piece := unpacked.read(1 << 20):
                copy.write(piece)
        cursor.execute(
            f"INSERT INTO billing_usagerecord ({columns}) SELECT {columns} FROM restored "  # noqa: S608 - our own names
            "ORDER BY request_id ON CONFLICT DO NOTHING"
        )
        if cursor.rowcount != archive.rows:
            raise CannotArchive(f"{archive.rows - cursor.rowcount} rows of {file} are already in the ledger.")
        LedgerArchive.objects.filter(pk=archive.pk).update(restored_at=timezone.now())
    archive.refresh_from_db()
    return archive


def archived_between(since: datetime | None, until: datetime | None) -> list[LedgerArchive]:
    """The archives, not restored, that hold rows from `since` until before `until`."""
    archives = LedgerArchive.objects.filter(restored_at=None).order_by("month")
    if until is not None:
        # By the last moment included, so that an `until` at a month's start leaves that month out.
        archives = archives.filter(month__lte=(until - timedelta(microseconds=1)).astimezone(UTC).date())
    if since is not None:
        archives = archives.filter(month__gte=since.astimezone(UTC).date().replace(day=1))
    return list(archives)


def _require_closed(partition: str, month: date) -> None:
    """Raises CannotArchive unless each tenant with rows in it, if not deleted, has a statement of a later period."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT slug FROM tenants_tenant t WHERE deleted_at IS NULL "  # noqa: S608 - our own name
            f"AND EXISTS (SELECT FROM {partition} u WHERE u.tenant_id = t.id) AND NOT EXISTS "
            "(SELECT FROM billing_statement s WHERE s.tenant_id = t.id AND s.period_start > %s) "
            "ORDER BY slug LIMIT 5",
            [month],
        )
        slugs = [slug for (slug,) in cursor.fetchall()]
    if slugs:
        raise CannotArchive(
            f"{month:%Y-%m} has no statement yet for {', '.join(slugs)}. Beat and worker close ended periods "
            "every few minutes; if this stays, the worker's log says why ('closing periods')."
        )


def _write(partition: str, file: Path) -> Written:
    digest, rows = hashlib.sha256(), -1
    columns = ", ".join(field.attname for field in UsageRecord._meta.concrete_fields)
    query = f"SELECT {columns} FROM {partition} ORDER BY created_at, request_id"  # noqa: S608 - our own names
    with file.open("wb") as plain, gzip.GzipFile(filename="", fileobj=plain, mode="wb", mtime=0) as packed:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL timezone TO 'UTC'")
            with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)") as copy:
                for row in copy:
                    digest.update(row)
                    packed.write(row)
                    rows += 1
        packed.close()
        plain.flush()
        os.fsync(plain.fileno())
    return Written(rows=rows, digest=digest.hexdigest(), file_digest=_file_digest(file))


def _read(file: Path) -> Written:
    """What a file holds, by reading all of it."""
    digest, rows = hashlib.sha256(), -1
    for row in _records(file):
        digest.update(row)
        rows += 1
    return Written(rows=rows, digest=digest.hexdigest(), file_digest=_file_digest(file))


def _records(file: Path) -> Iterator[bytes]:
    """The file's records. A line break within quotes does not end one."""
    with gzip.open(file) as unpacked:
        record = b""
        for line in unpacked:
            record += line
            if record.count(b'"') % 2 == 0:
                yield record
                record = b""
        if record:
            yield record


def _file_digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _drop(partition: str, month: date, *, file: Path, written: Written) -> LedgerArchive:
    """Detach the partition, count its rows once more, drop it and record the archive, in one transaction."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout TO '2s'")
        cursor.execute(f"ALTER TABLE billing_usagerecord DETACH PARTITION {partition}")
        cursor.execute(f"SELECT count(*), COALESCE(sum(cost_usd), 0) FROM {partition}")  # noqa: S608 - our own name
        rows, cost_usd = cursor.fetchone()
        if rows != written.rows:
            raise CannotArchive(f"{month:%Y-%m} got {rows - written.rows} rows meanwhile; run it again.")
        cursor.execute(f"DROP TABLE {partition}")
        return LedgerArchive.objects.create(
            month=month,
            file=str(file.resolve()),
            rows=written.rows,
            cost_usd=Decimal(cost_usd),
            digest=written.digest,
            file_digest=written.file_digest,
        )


def _sync(folder: Path) -> None:
    """Flush the folder, so that the file's new name is on disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
