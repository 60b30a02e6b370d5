"""Billing periods and days, in Python and in PostgreSQL."""

import calendar
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from tenants.periods import period_of

pytestmark = pytest.mark.django_db


ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Kiritimati", "Asia/Kathmandu"]


def in_sql(moment: datetime, zone: str, billing_day: int) -> date:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenants_period_start(%s, %s, %s)", [moment, zone, billing_day])
        return cursor.fetchone()[0]


def expected(moment: datetime, zone: str, billing_day: int) -> date:
    """The last billing day up to today, walked back day by day."""
    today = moment.astimezone(ZoneInfo(zone)).date()
    for ordinal in range(today.toordinal(), today.toordinal() - 40, -1):
        day = date.fromordinal(ordinal)
        if day.day == min(billing_day, calendar.monthrange(day.year, day.month)[1]):
            return day
    raise AssertionError("no period start in 40 days")


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1_672_531_200, 1_988_150_400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    st.sampled_from(ZONES),
    st.integers(1, 31),
)
def test_a_period_starts_on_the_last_billing_day(moment, zone, billing_day):
    assert in_sql(moment, zone, billing_day) == expected(moment, zone, billing_day)


@pytest.mark.parametrize(
    ("moment", "zone", "billing_day", "start"),
    [
        (datetime(2026, 2, 28, 12, tzinfo=UTC), "UTC", 31, date(2026, 2, 28)),
        (datetime(2028, 2, 28, 12, tzinfo=UTC), "UTC", 31, date(2028, 1, 31)),
        (datetime(2026, 3, 1, 7, 59, tzinfo=UTC), "America/Los_Angeles", 1, date(2026, 2, 1)),
        (datetime(2026, 3, 1, 8, 0, tzinfo=UTC), "America/Los_Angeles", 1, date(2026, 3, 1)),
    ],
)
def test_short_months_and_zones(moment, zone, billing_day, start):
    assert in_sql(moment, zone, billing_day) == start


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1_672_531_200, 1_988_150_400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    st.sampled_from(ZONES),
    st.integers(1, 31),
)
def test_lists_and_the_meter_name_the_same_period(moment, zone, billing_day):
    assert (
        in_sql(moment, zone, billing_day).isoformat() == period_of(moment.timestamp(), zone, billing_day).name
    )
