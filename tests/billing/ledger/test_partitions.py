from datetime import UTC, date, datetime
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from billing.ledger.partitions import make_partitions, rows_without_a_month
from tests.factories import UsageRecordFactory

pytestmark = pytest.mark.django_db


def months_of_the_ledger() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relid::text FROM pg_partition_tree('billing_usagerecord')")
        return {name.removeprefix("billing_usagerecord_") for (name,) in cursor.fetchall()}


def test_partitions_are_made_over_the_turn_of_a_year():
    make_partitions(first=date(2033, 12, 31), months=2)

    assert {"y2033m12", "y2034m01"} <= months_of_the_ledger()


def test_this_month_and_the_next_are_there_from_the_first_migration():
    now = datetime.now(UTC)

    assert f"y{now:%Y}m{now:%m}" in months_of_the_ledger()
    assert make_partitions(months=2) == 0


def test_rows_without_a_month_are_counted_until_it_is_made():
    UsageRecordFactory(at=datetime(2031, 5, 1, tzinfo=UTC))
    assert rows_without_a_month() == 1

    make_partitions(first=date(2031, 5, 1), months=1)

    assert rows_without_a_month() == 0


def test_the_command_makes_the_past_too():
    out = StringIO()

    call_command("make_partitions", "--back", "24", "--ahead", "0", stdout=out)
    call_command("make_partitions", "--back", "24", "--ahead", "0", stdout=out)

    assert "0 partitions created" in out.getvalue().splitlines()[1]
