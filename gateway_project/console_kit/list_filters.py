"""Filters of the console's lists. For a value they cannot read they show an error and no rows, never all rows."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NoReturn

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter, RangeDateFilter, RangeDateTimeFilter

_DAY_AFTER = timedelta(days=1)


def refuse(request: HttpRequest, message: str) -> NoReturn:
    """Show `message` above an empty list (see `ConsolePage`). Raises IncorrectLookupParameters."""
    messages.error(request, message)
    raise IncorrectLookupParameters(message)


def chosen(request: HttpRequest, choice: DropdownFilter) -> Any:
    """The choice made in a filter, or None. A value that it does not offer is refused."""
    value = choice.value()
    if value and value not in {str(offered) for offered, _ in choice.lookup_choices}:
        refuse(request, f"{value[:60]!r} is not one of the choices for “{choice.title}”.")
    return value or None


class Days(RangeDateFilter):
    """A range of days, both ends included."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for end, lookup in (("from", "gte"), ("to", "lte")):
            name = f"{self.parameter_name}_{end}"
            if text := self.used_parameters.get(name):
                queryset = queryset.filter(**{f"{self.parameter_name}__{lookup}": _day(request, text)})
        return queryset


class Moments(RangeDateTimeFilter):
    """A range of moments in UTC. A day without a time means all of that day."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.parameter_name
        since, at = self._date_and_time("from")
        if since or at:
            queryset = queryset.filter(**{f"{name}__gte": _moment(request, since, at or "00:00")})
        until, at = self._date_and_time("to")
        if until and not at:
            queryset = queryset.filter(**{f"{name}__lt": _moment(request, until, "00:00") + _DAY_AFTER})
        elif until or at:
            queryset = queryset.filter(**{f"{name}__lte": _moment(request, until, at)})
        return queryset

    def _date_and_time(self, end: str) -> tuple[str, str]:
        names = (f"{self.parameter_name}_{end}_{part}" for part in (0, 1))
        day, at = map(self.used_parameters.get, names)
        return day or "", at or ""


def _moment(request: HttpRequest, day: str, at: str) -> datetime:
    if not day:
        refuse(request, "Enter a date for this time.")
    try:
        clock = time.fromisoformat(at)
    except ValueError:
        refuse(request, f"{at[:40]!r} is not a time. Write it as 14:30.")
    return datetime.combine(_day(request, day), clock.replace(tzinfo=None), tzinfo=UTC)


def _day(request: HttpRequest, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        refuse(request, f"{text[:40]!r} is not a date. Write it as 2026-10-31.")
    if not 2000 <= day.year < 3000:
        refuse(request, f"{text[:40]!r} is out of range. Enter a date from 2000 to 2999.")
    return day
