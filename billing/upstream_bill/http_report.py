"""Fetch the upstream's bill by HTTP: a report of some days, as JSON or CSV, at UPSTREAM_BILL_URL."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import msgspec
from django.conf import settings

from billing.upstream_bill.comparison import LOOK_BACK, Imported, import_bill
from billing.upstream_bill.parsing import BadBill, BillLine, read_csv, read_rows

TIMEOUT_SECONDS = 60
LARGEST = 32 * 1024 * 1024


def import_report(since: date | None = None, until: date | None = None) -> Imported:
    """Fetch and import the days from `since` to `until`, both included; by default the last days that have ended.

    Raises BadBill if the report cannot be fetched or read.
    """
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    last = until or yesterday
    first = since or last - LOOK_BACK + timedelta(days=1)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return import_bill(fetch(first, last), source="HTTP report", days=days)


def fetch(since: date, until: date) -> list[BillLine]:
    """The report's lines. Raises BadBill."""
    if not settings.UPSTREAM_BILL_URL:
        raise BadBill("UPSTREAM_BILL_URL is not set: import a CSV instead.")
    url = settings.UPSTREAM_BILL_URL.format(since=since.isoformat(), until=until.isoformat())
    headers = {"accept": "application/json, text/csv"}
    if settings.UPSTREAM_BILL_AUTHORIZATION:
        headers["authorization"] = settings.UPSTREAM_BILL_AUTHORIZATION
    try:
        with (
            httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            content = b""
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > LARGEST:
                    raise BadBill(f"The report is larger than {LARGEST} bytes. Fetch fewer days.")
    except httpx.HTTPError as error:
        raise BadBill(f"The report could not be fetched: {type(error).__name__} {error}".strip()) from error
    if answer.status_code != 200:
        raise BadBill(f"The report could not be fetched: HTTP {answer.status_code}.")
    if "csv" in answer.headers.get("content-type", ""):
        return read_csv(content, settings.UPSTREAM_BILL_FIELDS)
    return read_rows(_rows(content), settings.UPSTREAM_BILL_FIELDS)


def _rows(content: bytes) -> list[Any]:
    """The list of rows in a JSON answer, below the names of `UPSTREAM_BILL_ROWS`."""
    try:
        found = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise BadBill("The report is neither JSON nor CSV.") from error
    for name in filter(None, settings.UPSTREAM_BILL_ROWS.split(".")):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, list):
        raise BadBill(f"The report has no list at {settings.UPSTREAM_BILL_ROWS!r}. Check UPSTREAM_BILL_ROWS.")
    return found
