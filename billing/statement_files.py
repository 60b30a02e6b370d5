"""A statement as CSV, for spreadsheets, and as PDF, for people."""

import csv
import io
from decimal import Decimal
from typing import Any

from fpdf import FPDF

from billing.models import Statement

COLUMNS = (
    "kind",
    "period_start",
    "model",
    "key",
    "key_name",
    "requests",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "web_searches",
    "cost_usd",
    "reason",
    "reference",
)
_SUMMED = ("requests", *COLUMNS[6:12])


def statement_csv(statement: Statement) -> str:
    """Usage lines, late lines and adjustments; the last row is the total of all above."""
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
    """A text that no spreadsheet takes for a formula; amounts may begin with a minus."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        try:
            Decimal(value)
        except ArithmeticError:
            return f"'{value}"
    return value


def statement_pdf(statement: Statement) -> bytes:
    """One A4 page or more: who and when, the sums, a line for each model and key."""
    page = FPDF(format="A4")
    page.set_title(f"Statement {statement.tenant.slug} {statement.period_start}")
    page.set_auto_page_break(True, margin=18)
    page.add_page()
    _heading(page, statement)
    _sums(page, statement)
    _table(page, "Usage by model and key", statement.lines)
    _table(page, "Late usage of closed periods", statement.late_lines)
    _adjustments(page, statement.adjustment_lines)
    return bytes(page.output())


def _heading(page: FPDF, statement: Statement) -> None:
    page.set_font("Helvetica", "B", 20)
    page.cell(0, 12, "Statement", new_x="LMARGIN", new_y="NEXT")
    page.set_font("Helvetica", "", 10)
    page.set_text_color(90)
    last = statement.ends_at.date()
    for line in (
        f"{statement.tenant.name} ({statement.tenant.slug})",
        f"{statement.period_start} to {statement.period_end} (excluded), {statement.timezone}",
        f"Closed {statement.closed_at:%Y-%m-%d %H:%M} UTC, statement {statement.pk}, ends {last}",
    ):
        page.cell(0, 6, _latin(line), new_x="LMARGIN", new_y="NEXT")
    page.set_text_color(0)
    page.ln(4)


def _sums(page: FPDF, statement: Statement) -> None:
    rows = [
        (f"Usage, {statement.requests:,} requests", statement.usage_usd),
        ("Late usage of closed periods", statement.late_usd),
        ("Adjustments", statement.adjustments_usd),
        ("Total", statement.total_usd),
    ]
    for title, amount in rows:
        page.set_font("Helvetica", "B" if title == "Total" else "", 11)
        page.cell(120, 7, title, border="T" if title == "Total" else 0)
        page.cell(
            0,
            7,
            _usd(amount),
            align="R",
            border="T" if title == "Total" else 0,
            new_x="LMARGIN",
            new_y="NEXT",
        )
    page.ln(6)


def _table(page: FPDF, title: str, lines: list[dict[str, Any]]) -> None:
    if not lines:
        return
    _title(page, title)
    with page.table(
        col_widths=(54, 34, 22, 28, 28, 26), text_align=("L", "L", "R", "R", "R", "R"), line_height=6
    ) as table:
        table.row(("Model", "Key", "Requests", "Tokens in", "Tokens out", "USD"))
        for line in lines:
            tokens_in = sum(line[name] or 0 for name in COLUMNS[6:11] if name != "output_tokens")
            table.row(
                (
                    _latin(line["model"]),
                    _latin(line["key_name"] or "-"),
                    f"{line['requests']:,}",
                    f"{tokens_in:,}",
                    f"{line['output_tokens']:,}",
                    _usd(Decimal(line["cost_usd"])),
                )
            )
    page.ln(6)


def _adjustments(page: FPDF, lines: list[dict[str, Any]]) -> None:
    if not lines:
        return
    _title(page, "Adjustments")
    with page.table(col_widths=(30, 30, 106, 26), text_align=("L", "L", "L", "R"), line_height=6) as table:
        table.row(("Date", "Kind", "Reason", "USD"))
        for line in lines:
            charge = _usd(Decimal(line["charge_usd"]))
            table.row(
                (line["created_at"][:10], line["kind"].replace("_", " "), _latin(line["reason"]), charge)
            )


def _title(page: FPDF, title: str) -> None:
    page.set_font("Helvetica", "B", 12)
    page.cell(0, 8, title, new_x="LMARGIN", new_y="NEXT")
    page.set_font("Helvetica", "", 9)


def _usd(amount: Decimal) -> str:
    """Cents, or as many places as a small amount needs."""
    places = Decimal("0.01") if abs(amount) >= 1 or not amount else Decimal("0.000001")
    return f"{amount.quantize(places):,}"


def _latin(text: str) -> str:
    """The built-in fonts know Latin-1 only."""
    return text.encode("latin-1", "replace").decode("latin-1")
