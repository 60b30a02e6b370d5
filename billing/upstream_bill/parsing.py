"""Parse the upstream's bill, whatever its columns are called: rows of a CSV or of a JSON report."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from gateway_project.ground.errors import TenantryError
from gateway_project.ground.money import nine_places

# The names a field may have in a bill; `UPSTREAM_BILL_FIELDS` adds more.
NAMES = {
    "day": ("day", "date", "usage_date", "timestamp"),
    "model": ("model", "model_name", "model_id"),
    "cost_usd": ("cost_usd", "cost", "total_cost", "amount_usd", "amount", "billed_usd"),
    "requests": ("requests", "request_count", "calls", "num_requests"),
    "input_tokens": ("input_tokens", "prompt_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens"),
    "cache_read_tokens": ("cache_read_tokens", "cached_tokens", "cache_read_input_tokens"),
    "cache_write_tokens": ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"),
}
NEEDED = ("day", "model", "cost_usd")
COUNTS = tuple(name for name in NAMES if name not in NEEDED)


class BadBill(TenantryError):
    """The bill cannot be read; the message says which row and what is wrong with it."""

    code = "invalid_request"
    status = 400
    type = "invalid_request_error"


class BillLine(msgspec.Struct, frozen=True):
    """What the upstream billed for one UTC day and model. Counts that the bill lacks are `None`."""

    day: date
    model: str
    cost_usd: Decimal
    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None


def read_csv(content: bytes, fields: Mapping[str, str]) -> list[BillLine]:
    """The lines of a CSV with a header row, separated by commas, semicolons or tabs. Raises BadBill."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadBill("The file is not UTF-8 text.") from error
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    return read_rows(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator), fields)


def read_rows(rows: Iterable[Mapping[str, Any]], fields: Mapping[str, str]) -> list[BillLine]:
    """One line for each day and model. Rows that share both, of several keys for example, are added up.

    `fields` maps our fields to names in the bill, which are tried first. Raises BadBill.
    """
    sums: dict[tuple[date, str], dict[str, Any]] = {}
    for number, raw in enumerate(rows, start=1):
        if not isinstance(raw, Mapping):
            raise BadBill(f"Row {number} is not an object with named values.")
        row = {str(name).strip().lower(): value for name, value in raw.items() if name}
        found = {name: _value(row, (fields.get(name, ""), *names)) for name, names in NAMES.items()}
        if missing := [name for name in NEEDED if found[name] is None]:
            known = ", ".join(sorted(row))
            raise BadBill(f"Row {number} has no {' and no '.join(missing)}. Its columns: {known}.")
        place = (_day(found["day"], number), str(found["model"]).strip()[:100])
        line = sums.setdefault(place, {"cost_usd": Decimal(0)})
        line["cost_usd"] += _amount(found["cost_usd"], number)
        for name in COUNTS:
            if found[name] is not None:
                line[name] = line.get(name, 0) + _count(found[name], name, number)
    return [BillLine(day, model, **line) for (day, model), line in sorted(sums.items())]


def _value(row: Mapping[str, Any], names: Iterable[str]) -> Any:
    for name in names:
        value = row.get(name.lower())
        if value is not None and str(value).strip():
            return value
    return None


def _day(value: Any, number: int) -> date:
    """The UTC day of a date, or of a time with or without an offset (without: UTC)."""
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise BadBill(f"Row {number}: {str(value)[:40]!r} is not a date such as 2026-11-25.") from error
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date()


def _amount(value: Any, number: int) -> Decimal:
    text = str(value).strip().removeprefix("$")
    try:
        # No commas: 1,234 could be either number.
        amount = Decimal(text) if re.fullmatch(r"-?[\d.]+([eE]-?\d+)?", text) else None
    except InvalidOperation:
        amount = None
    if amount is None or abs(amount) >= Decimal(10**11):
        raise BadBill(f"Row {number}: {str(value)[:40]!r} is not an amount in USD such as 12.34.")
    return nine_places(amount)


def _count(value: Any, name: str, number: int) -> int:
    text = str(value).strip()
    if not re.fullmatch(r"\d{1,18}(\.0+)?", text):
        raise BadBill(f"Row {number}: {text[:40]!r} is not a number of {name.replace('_', ' ')}.")
    return int(text.partition(".")[0])
