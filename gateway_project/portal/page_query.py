"""The query parameters of a portal page. One that cannot be read is reported in `faults`, never ignored."""

from collections.abc import Container
from datetime import UTC, date, datetime
from uuid import UUID

from django.http import QueryDict

# Days outside this range make no sense, and are too near the calendar's ends for arithmetic.
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2999, 12, 31)
LONGEST_TAG = 129


class PageQuery:
    """Reads query parameters. A missing or unreadable one is `None` or an empty string."""

    def __init__(self, query: QueryDict) -> None:
        self._query = query
        self.faults: list[str] = []

    def text(self, name: str) -> str:
        return self._query.get(name, "").strip()

    def choice(self, name: str, offered: Container[str], *, default: str = "", called: str = "") -> str:
        value = self.text(name)
        if value and value not in offered:
            self._fault(f"There is no {called or name} {_short(value)}.")
            return default
        return value or default

    def number(self, name: str) -> int | None:
        value = self.text(name)
        if not value:
            return None
        if not (value.isdecimal() and value.isascii() and len(value) < 19):
            self._fault(f"There is no {name} {_short(value)}.")
            return None
        return int(value)

    def day(self, name: str) -> date | None:
        value = self.text(name)
        if not value:
            return None
        try:
            day = date.fromisoformat(value)
        except ValueError:
            self._fault(f"{_short(value)} is not a date. Write it as 2026-10-31.")
            return None
        if not FIRST_DAY <= day <= LAST_DAY:
            self._fault(f"There is no usage on {_short(value)}.")
            return None
        return day

    def moment(self, name: str) -> datetime | None:
        value = self.text(name)
        if not value:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self._fault(f"{_short(value)} is not a time.")
            return None
        if not FIRST_DAY <= moment.date() <= LAST_DAY:
            self._fault(f"There are no requests at {_short(value)}.")
            return None
        # In UTC: PostgreSQL refuses offsets of more than 16 hours, which ISO 8601 allows.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)

    def request_id(self, name: str) -> UUID | None:
        value = self.text(name)
        if not value:
            return None
        try:
            return UUID(value)
        except ValueError:
            self._fault(f"{_short(value)} is not a request ID. Copy it in full from the request-id header.")
            return None

    def tag(self, name: str) -> str:
        """A tag's name, or name=value."""
        value = self.text(name)
        if len(value) > LONGEST_TAG or value.startswith("="):
            self._fault(f"{_short(value)} is not a tag. Write its name, or name=value.")
            return ""
        return value

    def _fault(self, message: str) -> None:
        self.faults.append(message)


def _short(value: str) -> str:
    return repr(value if len(value) <= 60 else f"{value[:60]}…")
