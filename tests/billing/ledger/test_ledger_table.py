from datetime import UTC, datetime, timedelta

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.utils import timezone

from billing.models import UsageRecord
from tests.factories import LedgerBatchFactory, StatementFactory, UsageRecordFactory, request_id_at

pytestmark = pytest.mark.django_db


def partitions() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text, count(*) FROM billing_usagerecord GROUP BY 1")
        return dict(cursor.fetchall())


def make_partitions(first: str, months: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_make_partitions(%s, %s)", [first, months])
        return cursor.fetchone()[0]


def test_a_row_lands_in_the_partition_of_its_month():
    now = timezone.now()

    UsageRecordFactory(at=now)

    assert partitions() == {f"billing_usagerecord_y{now:%Y}m{now:%m}": 1}


def test_a_month_without_a_partition_is_caught_by_the_default_one():
    UsageRecordFactory(at=datetime(2031, 5, 31, 23, 59, 59, tzinfo=UTC))

    assert partitions() == {"billing_usagerecord_default": 1}


def test_making_a_partition_moves_in_what_the_default_one_caught():
    UsageRecordFactory(at=datetime(2031, 5, 1, tzinfo=UTC))
    UsageRecordFactory(at=datetime(2031, 6, 1, tzinfo=UTC))

    made = make_partitions("2031-05-15", 1)

    assert made == 1
    assert partitions() == {"billing_usagerecord_y2031m05": 1, "billing_usagerecord_default": 1}


def test_making_partitions_twice_makes_them_once():
    assert make_partitions("2032-11-30", 3) == 3
    assert make_partitions("2032-11-30", 3) == 0


@pytest.mark.parametrize("table", ["billing_usagerecord", "billing_usagerecord_default"])
def test_rows_can_be_neither_changed_nor_removed(table):
    UsageRecordFactory(at=datetime(2031, 5, 1, tzinfo=UTC))

    for statement in (f"UPDATE {table} SET cost_usd = 0", f"DELETE FROM {table}"):
        with (
            pytest.raises(IntegrityError, match="append-only"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)


def test_the_default_partition_is_append_only_again_after_rows_were_moved_out():
    UsageRecordFactory(at=datetime(2031, 5, 1, tzinfo=UTC))
    UsageRecordFactory(at=datetime(2031, 6, 1, tzinfo=UTC))
    make_partitions("2031-05-01", 1)

    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        UsageRecord.objects.update(cost_usd=0)


def test_a_request_id_is_booked_once_only():
    row = UsageRecordFactory()

    with pytest.raises(IntegrityError), transaction.atomic():
        UsageRecordFactory(request_id=row.request_id)


def test_a_row_whose_time_is_not_its_ids_is_refused():
    now = timezone.now()

    with pytest.raises(IntegrityError, match="time_is_the_ids"), transaction.atomic():
        UsageRecordFactory(request_id=request_id_at(now), created_at=now + timedelta(seconds=1))


@pytest.mark.parametrize(
    "wrong", [{"cost_usd": -1}, {"input_tokens": -1}, {"status": "lost"}, {"http_status": 70_000}]
)
def test_impossible_values_are_refused(wrong):
    with pytest.raises((IntegrityError, DataError)), transaction.atomic():
        UsageRecordFactory(**wrong)


def test_a_row_stays_when_what_it_names_has_gone():
    row = UsageRecordFactory(tenant_id=987_654, tenant=None, api_key=None)

    assert UsageRecord.objects.get(pk=row.pk).tenant_id == 987_654


def test_a_tenants_newest_rows_are_read_by_index():
    query = UsageRecord.objects.filter(tenant_id=1).order_by("-created_at")[:50]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")  # the table is empty

    plan = query.explain()

    assert "tenant_id_created_at_idx" in plan
    assert "->  Sort" not in plan


def test_one_month_reads_one_partition():
    make_partitions("2031-05-01", 1)
    first, next_first = datetime(2031, 5, 1, tzinfo=UTC), datetime(2031, 6, 1, tzinfo=UTC)

    plan = UsageRecord.objects.filter(created_at__gte=first, created_at__lt=next_first).explain()

    assert "billing_usagerecord_y2031m05" in plan
    assert plan.count("billing_usagerecord_y") == plan.count("billing_usagerecord_y2031m05")


@pytest.mark.parametrize("factory", [StatementFactory, LedgerBatchFactory])
def test_what_is_closed_stays_as_it_is(factory):
    row = factory()

    with pytest.raises(IntegrityError, match="refused"), transaction.atomic():
        row.save()
    with pytest.raises(IntegrityError, match="refused"), transaction.atomic():
        row.delete()
