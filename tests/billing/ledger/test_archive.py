"""Old months leave the database for files, and come back as they were."""

import csv
import gzip
import hashlib
import io
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from billing.exports import export as exports
from billing.exports.export import Filter
from billing.ledger import archive
from billing.ledger.archive import CannotArchive, archive_month, months_to_archive, restore_month
from billing.ledger.partitions import make_partitions, months_with_a_partition
from billing.models import DailyUsage, LedgerArchive, UsageRecord
from tests.factories import DailyUsageFactory, StatementFactory, TenantFactory, UsageRecordFactory

pytestmark = pytest.mark.django_db
MONTH = date(2024, 1, 1)
INSIDE = datetime(2024, 1, 10, 12, tzinfo=UTC)


@pytest.fixture
def tenant():
    """With a call in January 2024, whose period is closed."""
    make_partitions(first=date(2023, 12, 1), months=3)
    tenant = TenantFactory(slug="acme")
    UsageRecordFactory(
        tenant=tenant, at=INSIDE, end_user='a "b",\nc', tags={"team": "a"}, ttft_ms=None, api_key=None
    )
    UsageRecordFactory(tenant=tenant, at=datetime(2024, 2, 1, tzinfo=UTC))
    StatementFactory(
        tenant=tenant, starts_at=datetime(2024, 2, 1, tzinfo=UTC), ends_at=datetime(2024, 3, 1, tzinfo=UTC)
    )
    return tenant


def rows():
    return list(UsageRecord.objects.order_by("pk").values())


def test_a_month_leaves_into_a_file_that_can_be_checked_and_read(tenant, tmp_path):
    [january, _] = UsageRecord.objects.order_by("created_at")
    done = archive_month(MONTH, folder=tmp_path)

    assert [row["created_at"].month for row in rows()] == [2]
    assert MONTH not in months_with_a_partition()
    file = tmp_path / "usage-2024-01.csv.gz"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == done.file_digest
    content = gzip.decompress(file.read_bytes())
    assert hashlib.sha256(content).hexdigest() == done.digest
    [row] = csv.DictReader(io.StringIO(content.decode(), newline=""))
    assert row["request_id"] == str(january.pk)
    assert (row["end_user"], Decimal(row["cost_usd"])) == ('a "b",\nc', january.cost_usd)
    assert (done.rows, done.cost_usd) == (1, january.cost_usd)
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


def test_it_comes_back_as_it_was(tenant, tmp_path):
    before = rows()
    archive_month(MONTH, folder=tmp_path)
    late = UsageRecordFactory(
        tenant=tenant, at=datetime(2024, 1, 20, tzinfo=UTC)
    )  # where nobody waits for it
    restore_month(MONTH)

    UsageRecord.objects.get(pk=late.pk)
    assert [row for row in rows() if row["request_id"] != late.pk] == before
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM billing_usagerecord_y2024m01")
        assert cursor.fetchone() == (2,)
    assert archive_month(MONTH, folder=tmp_path).rows == 2  # and may go again


def test_roll_ups_stay(tenant, tmp_path):
    DailyUsageFactory(tenant=tenant, day=INSIDE.date())
    archive_month(MONTH, folder=tmp_path)
    assert DailyUsage.objects.get().day == INSIDE.date()


def test_a_month_that_is_not_closed_stays(tenant, tmp_path):
    UsageRecordFactory(tenant=TenantFactory(slug="open"), at=INSIDE)
    with pytest.raises(CannotArchive, match="no statement yet for open"):
        archive_month(MONTH, folder=tmp_path)
    assert MONTH in months_with_a_partition()
    assert not list(tmp_path.iterdir())


def test_rows_that_came_while_it_was_written_keep_the_month_where_it_is(tenant, tmp_path, monkeypatch):
    def read_while_one_comes(file):
        UsageRecordFactory(tenant=tenant, at=INSIDE)
        return really(file)

    really = archive._read
    monkeypatch.setattr(archive, "_read", read_while_one_comes)
    with pytest.raises(CannotArchive, match="got 1 rows meanwhile"):
        archive_month(MONTH, folder=tmp_path)
    assert MONTH in months_with_a_partition()
    assert not LedgerArchive.objects.exists()


def test_a_file_that_reads_otherwise_than_it_was_written_drops_nothing(tenant, tmp_path, monkeypatch):
    really = archive._write

    def write_on_a_broken_disk(partition, file):
        written = really(partition, file)
        file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-5]))
        return written

    monkeypatch.setattr(archive, "_write", write_on_a_broken_disk)
    with pytest.raises(CannotArchive, match="disk"):
        archive_month(MONTH, folder=tmp_path)
    assert MONTH in months_with_a_partition()


def test_a_file_that_was_changed_is_not_put_back(tenant, tmp_path):
    done = archive_month(MONTH, folder=tmp_path)
    with open(done.file, "ab") as file:
        file.write(b"x")
    with pytest.raises(CannotArchive, match="SHA-256 differs"):
        restore_month(MONTH)


def test_an_export_that_would_miss_archived_rows_is_refused(tenant, tmp_path):
    archive_month(MONTH, folder=tmp_path)
    for wanted in (Filter(), Filter(since=INSIDE), Filter(until=datetime(2024, 1, 2, tzinfo=UTC))):
        with pytest.raises(exports.BadExport, match="2024-01 are archived"):
            exports.begin(wanted)
    exports.begin(Filter(since=datetime(2024, 2, 1, tzinfo=UTC)))
    exports.begin(Filter(until=datetime(2024, 1, 1, tzinfo=UTC)))


def test_an_export_that_ends_within_the_first_day_of_an_archived_month_is_refused(tenant, tmp_path):
    archive_month(MONTH, folder=tmp_path)
    before = datetime(2023, 12, 1, tzinfo=UTC)

    exports.begin(Filter(since=before, until=datetime(2024, 1, 1, tzinfo=UTC)))
    with pytest.raises(exports.BadExport, match="2024-01"):
        exports.begin(Filter(since=before, until=datetime(2024, 1, 1, 5, tzinfo=UTC)))


def test_recent_months_stay():
    make_partitions(first=date(2024, 11, 1), months=6)
    found = months_to_archive(keep=15, today=date(2026, 5, 20))
    assert date(2025, 1, 1) in found
    assert date(2025, 2, 1) not in found
    with pytest.raises(CannotArchive, match="last 15 months"):
        months_to_archive(keep=14)


def test_by_command_there_and_back(tenant, tmp_path, capsys):
    make_partitions(first=date(2023, 12, 1), months=1)
    call_command("archive_partitions", "--to", str(tmp_path), "--dry-run")
    assert "2024-01 would be archived" in capsys.readouterr().out

    StatementFactory(
        tenant=tenant, starts_at=datetime(2025, 2, 1, tzinfo=UTC), ends_at=datetime(2025, 3, 1, tzinfo=UTC)
    )
    call_command("archive_partitions", "--to", str(tmp_path))
    assert not UsageRecord.objects.exists()
    call_command("restore_partition", "2024-01")
    assert UsageRecord.objects.count() == 1
    with pytest.raises(CommandError, match="not archived"):
        call_command("restore_partition", "2024-01")
