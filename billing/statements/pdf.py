"""A statement as PDF, for people: tenant and period, total, and lines."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import unfold
from django.conf import settings
from fpdf import FPDF
from fpdf.fonts import FontFace, TTFFont

from billing.models import Statement
from billing.usage import CACHE_WRITES

FONT = "Inter"  # the theme's complete font: Latin, Greek and Cyrillic
_FONTS = Path(unfold.__file__).parent / "static" / "unfold" / "fonts" / "inter"
INK, SOFT, RULE, SHADE = (24, 24, 27), (113, 113, 122), (212, 212, 216), (244, 244, 245)
_BOLD = FontFace(emphasis="BOLD", fill_color=SHADE)


class _Page(FPDF):
    """A4 with the statement's number at the foot of every page."""

    def __init__(self, foot: str, *, fallback: str = "") -> None:
        super().__init__(format="A4")
        self.foot = foot
        for style, file in (("", "Regular"), ("B", "SemiBold")):
            self.add_font(FONT, style, _FONTS / f"Inter-{file}.woff2")
        if fallback:
            self.add_font("fallback", "", fallback)
            self.set_fallback_fonts(["fallback"], exact_match=False)
        self.set_margins(15, 18)
        self.set_auto_page_break(True, margin=22)
        self.set_draw_color(*RULE)

    @property
    def lacks(self) -> bool:
        """Whether a character was written that no font has, and shows as a box."""
        return any(font.missing_glyphs for font in self.fonts.values() if isinstance(font, TTFFont))

    def footer(self) -> None:
        self.set_y(-16)
        self.write_line(f"{self.foot}  ·  page {self.page_no()} of {{nb}}", size=7.5, colour=SOFT)

    def write_line(
        self,
        text: str,
        *,
        size: float = 9,
        bold: bool = False,
        colour: tuple[int, int, int] = INK,
        height: float = 5,
    ) -> None:
        self.set_font(FONT, "B" if bold else "", size)
        self.set_text_color(*colour)
        self.cell(0, height, text, new_x="LMARGIN", new_y="NEXT")

    def write_table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], texts: int
    ) -> None:
        """Write a table. The first `texts` columns are text, the others are numbers."""
        self.set_font(FONT, "", 7)  # ten billion tokens fit a column
        self.set_text_color(*INK)
        align = ["L"] * texts + ["R"] * (len(header) - texts)
        with self.table(
            col_widths=widths,
            text_align=align,
            line_height=4.6,
            padding=(0.7, 1),
            borders_layout="HORIZONTAL_LINES",
            headings_style=_BOLD,
        ) as table:
            for row in (header, *rows):
                table.row(row)
        self.ln(5)


def statement_pdf(statement: Statement) -> bytes:
    """The PDF of a statement, always the same bytes. Scripts that the theme's font lacks use `STATEMENT_FONT`."""
    page = _written(statement)
    if page.lacks and settings.STATEMENT_FONT:
        # Only if needed: a font with all Chinese characters takes seconds to read.
        page = _written(statement, fallback=settings.STATEMENT_FONT)
    if page.lacks:
        page.write_line(
            "Characters that this file's fonts do not have appear as boxes. The CSV has the full names.",
            size=7.5,
            colour=SOFT,
        )
    return bytes(page.output())


def _written(statement: Statement, *, fallback: str = "") -> _Page:
    number = f"Statement {statement.pk}, {statement.tenant.slug}"
    page = _Page(number, fallback=fallback)
    page.set_title(number)
    page.set_author(settings.OPERATOR_NAME)
    page.set_creation_date(statement.closed_at)
    page.add_page()
    _heading(page, statement)
    _sums(page, statement)
    _usage(page, "Usage by model and key", statement.lines)
    _usage(page, "Late usage of closed periods", statement.late_lines, late=True)
    _adjustments(page, statement.adjustment_lines)
    _alerts(page, statement)
    return page


def _heading(page: _Page, statement: Statement) -> None:
    page.write_line(settings.OPERATOR_NAME, size=10, bold=True, colour=SOFT)
    page.write_line("Statement", size=22, bold=True, height=13)
    page.ln(3)
    last = statement.period_end - timedelta(days=1)
    closed = statement.closed_at.astimezone(ZoneInfo(statement.timezone))
    facts = [
        ("For", f"{statement.tenant.name} ({statement.tenant.slug})"),
        ("Period", f"{_day(statement.period_start)} – {_day(last)}, {statement.timezone}"),
        ("Number", str(statement.pk)),
        ("Closed", f"{_day(closed)}, {closed:%H:%M}"),
    ]
    if statement.budget_usd is not None:
        used = statement.usage_usd * 100 / statement.budget_usd if statement.budget_usd else Decimal(0)
        facts.append(
            ("Budget", f"{_usd(statement.budget_usd)} USD, {used:.0f}% used ({statement.budget_mode})")
        )
    for name, value in facts:
        page.set_font(FONT, "", 9)
        page.set_text_color(*SOFT)
        page.cell(24, 5.5, name)
        page.write_line(value, height=5.5)
    page.ln(6)


def _sums(page: _Page, statement: Statement) -> None:
    rows = [(f"Usage, {statement.requests:,} requests", statement.usage_usd)]
    if statement.late_lines:
        rows.append(("Late usage of closed periods", statement.late_usd))
    if statement.adjustment_lines:
        rows.append(("Credits and corrections", statement.adjustments_usd))
    for title, amount in rows:
        _sum(page, title, amount)
    _sum(page, "Total", statement.total_usd, total=True)
    page.write_line(
        "Amounts in USD. Lines are rounded to a hundredth of a cent and totals to a cent. "
        "The CSV has the exact amounts.",
        size=7.5,
        colour=SOFT,
    )
    page.ln(8)


def _sum(page: _Page, title: str, amount: Decimal, *, total: bool = False) -> None:
    page.set_font(FONT, "B" if total else "", 12 if total else 10)
    page.set_text_color(*INK)
    border = "T" if total else ""
    page.cell(120, 9 if total else 7, title, border=border)
    page.cell(
        0, 9 if total else 7, f"{_usd(amount)} USD", border=border, align="R", new_x="LMARGIN", new_y="NEXT"
    )


def _usage(page: _Page, title: str, lines: list[dict[str, Any]], *, late: bool = False) -> None:
    if not lines:
        return
    page.write_line(title, size=11, bold=True, height=8)
    header = ["Model", "Key", "Requests", "Input", "Cache read", "Cache written", "Output", "USD"]
    rows = []
    for line in lines:
        names = [line["model"], line["key_name"] or "–"]
        counts = [line["requests"], line["input_tokens"], line["cache_read_tokens"]]
        counts += [sum(line[name] or 0 for name in CACHE_WRITES), line["output_tokens"]]
        row = [*names, *(f"{count or 0:,}" for count in counts), _usd(Decimal(line["cost_usd"]), places=4)]
        rows.append([line["period_start"], *row] if late else row)
    widths = [38, 25, 16, 21, 21, 21, 20, 18]
    if late:
        header, widths = ["Period of", *header], [19, 27, 17, *widths[2:]]
    page.write_table(header, rows, widths, texts=3 if late else 2)


def _adjustments(page: _Page, lines: list[dict[str, Any]]) -> None:
    if not lines:
        return
    page.write_line("Credits and corrections", size=11, bold=True, height=8)
    rows = [
        [
            line["created_at"][:10],
            line["kind"].replace("_", " ").capitalize(),
            " · ".join(text for text in (line["reason"], line["reference"]) if text),
            _usd(Decimal(line["charge_usd"]), places=4),
        ]
        for line in lines
    ]
    page.write_table(["Date", "Kind", "Reason", "USD"], rows, [22, 28, 100, 24], texts=3)


def _alerts(page: _Page, statement: Statement) -> None:
    zone = ZoneInfo(statement.timezone)
    rows = [
        [
            f"{alert['threshold']}%",
            _day(datetime.fromisoformat(alert["crossed_at"]).astimezone(zone)),
            _usd(Decimal(alert["spent_usd"])),
            _usd(Decimal(alert["budget_usd"])),
        ]
        for alert in statement.alerts
        if alert["kind"] == "threshold" and alert.get("scope", "tenant") == "tenant"
    ]
    if rows:
        page.write_line("Budget thresholds reached", size=11, bold=True, height=8)
        page.write_table(["Threshold", "On", "Spent, USD", "Budget, USD"], rows, [30, 60, 42, 42], texts=2)


def _day(moment: Any) -> str:
    return f"{moment.day} {moment:%B %Y}"


def _usd(amount: Decimal, *, places: int = 2) -> str:
    return f"{amount:,.{places}f}".replace("-", "−")
