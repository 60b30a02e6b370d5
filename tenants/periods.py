"""A tenant's billing period and day: named by local dates, bounded by UTC instants.

This is the only definition in Python. PostgreSQL has `tenants_period_start` for queries over many tenants; a test
compares the two.
"""

import calendar
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec


class Span(msgspec.Struct, frozen=True):
    """A period or a day: its first local date (`name`), and its start and end (excluded) in epoch seconds."""

    name: str
    start: int
    end: int

    @property
    def ends_at(self) -> datetime:
        return _instant(self.end)


@lru_cache(maxsize=256)
def _instant(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def midnight(day: date, timezone: str) -> int:
    """The epoch second at which `day` starts in `timezone`, also for days of 23 or 25 hours."""
    return int(datetime.combine(day, time.min, zone(timezone)).timestamp())


def day_of(at: float, timezone: str) -> Span:
    """The local day that contains epoch second `at`."""
    today = datetime.fromtimestamp(at, zone(timezone)).date()
    return Span(
        name=today.isoformat(),
        start=midnight(today, timezone),
        end=midnight(today + timedelta(days=1), timezone),
    )


def period_of(at: float, timezone: str, billing_day: int) -> Span:
    """The billing period that contains epoch second `at`. Billing days 29 to 31 mean a shorter month's last day."""
    today = datetime.fromtimestamp(at, zone(timezone)).date()
    start = _billing_date(today.year, today.month, billing_day)
    if today < start:
        start = _billing_date(*_months_on(today.year, today.month, -1), billing_day)
    end = next_period(start, billing_day=billing_day)
    return Span(name=start.isoformat(), start=midnight(start, timezone), end=midnight(end, timezone))


def next_period(start: date, *, billing_day: int) -> date:
    """The first day of the period after the one that starts on `start`."""
    return _billing_date(*_months_on(start.year, start.month, 1), billing_day)


def _billing_date(year: int, month: int, billing_day: int) -> date:
    return date(year, month, min(billing_day, calendar.monthrange(year, month)[1]))


def _months_on(year: int, month: int, months: int) -> tuple[int, int]:
    index = year * 12 + month - 1 + months
    return index // 12, index % 12 + 1
