"""A statement as CSV, for spreadsheets."""

import csv
import io
from decimal import Decimal
from typing import Any

from billing.models import Statement
from billing.usage import COUNTS

COLUMNS = (
    "kind",
    "period_start",
    "model",
    "key",
    "key_name",
    "requests",
    *COUNTS,
    "cost_usd",
    "reason",
    "reference",
)
_SUMMED = ("requests", *COUNTS)


def statement_csv(statement: Statement) -> str:
    """Usage, late usage and adjustments. The last row is the total of all above."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", extrasaction="ignore")
    writer.writeheader()
    for line in _rows(statement):
        writer.writerow({name: _cell(value) for name, value in line.items()})
    return out.getvalue()


def _rows(statement: Statement) -> list[dict[str, Any]]:
    rows = [{"kind": "usage", **line} for line in statement.lines]
    rows += [{"kind": "late usage", **line} for line in statement.late_lines]
    rows += [
        {**line, "cost_usd": line["charge_usd"], "kind": line["kind"].replace("_", " ")}
        for line in statement.adjustment_lines
    ]
    total: dict[str, Any] = {"kind": "total", "cost_usd": str(statement.total_usd)}
    total |= {name: sum(line.get(name) or 0 for line in rows) for name in _SUMMED}
    return [*rows, total]


def _cell(value: Any) -> Any:
    """`value`, with a text changed so that no spreadsheet runs it as a formula. Amounts may begin with a minus."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        try:
            Decimal(value)
        except ArithmeticError:
            return f"'{value}"
    return value
