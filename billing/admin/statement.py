"""Closed months, frozen."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display

from billing.models import Statement
from billing.statements.csv_file import statement_csv
from gateway_project.console_kit import formatters
from gateway_project.console_kit.list_filters import Days
from gateway_project.console_kit.pages import ReadOnlyPage


def _file(content: bytes, name: str, kind: str) -> HttpResponse:
    return HttpResponse(
        content, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


@admin.register(Statement)
class StatementAdmin(ReadOnlyPage):
    empty_text = "A statement is created for each tenant when its period ends."
    list_display = (
        "period_start",
        "tenant",
        "shown_requests",
        "usage",
        "adjustments",
        "total",
        "margin",
        "closed_at",
    )
    list_filter = (("tenant", AutocompleteSelectFilter), ("period_start", Days))
    list_select_related = ("tenant",)
    search_fields = ("tenant__slug", "tenant__name")
    date_hierarchy = "period_start"
    fieldsets = (
        (
            None,
            {"fields": (("tenant", "timezone"), ("period_start", "period_end"), ("starts_at", "ends_at"))},
        ),
        (
            "Money",
            {
                "fields": (
                    ("usage", "late", "adjustments"),
                    ("total", "margin"),
                    ("budget_usd", "budget_mode"),
                )
            },
        ),
        (
            "Usage",
            {
                "fields": (
                    ("requests", "input_tokens", "output_tokens"),
                    ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "web_searches"),
                )
            },
        ),
        ("Lines", {"fields": ("lines", "late_lines", "adjustment_lines", "alerts")}),
        ("Closing", {"fields": (("recorded_until", "closed_at"),)}),
    )
    readonly_fields = ("usage", "late", "adjustments", "total", "margin")
    actions_detail = ("download_pdf", "download_csv")

    @action(description="PDF", url_path="pdf", permissions=["view"])
    def download_pdf(self, request: HttpRequest, object_id: int) -> HttpResponse:
        statement = get_object_or_404(Statement, pk=object_id)
        from billing.statements.pdf import (
            statement_pdf,
        )  # imported late: 20 MB and a fifth of a process's start

        return _file(statement_pdf(statement), f"{statement}.pdf", "application/pdf")

    @action(description="CSV", url_path="csv", permissions=["view"])
    def download_csv(self, request: HttpRequest, object_id: int) -> HttpResponse:
        statement = get_object_or_404(Statement, pk=object_id)
        return _file(statement_csv(statement).encode(), f"{statement}.csv", "text/csv; charset=utf-8")

    @display(description="Requests", ordering="requests")
    def shown_requests(self, statement: Statement) -> str:
        return formatters.count(statement.requests)

    @display(description="Usage", ordering="usage_usd")
    def usage(self, statement: Statement) -> str:
        return formatters.usd(statement.usage_usd)

    @display(description="Late usage", ordering="late_usd")
    def late(self, statement: Statement) -> str:
        return formatters.usd(statement.late_usd)

    @display(description="Adjustments", ordering="adjustments_usd")
    def adjustments(self, statement: Statement) -> str:
        return formatters.usd(statement.adjustments_usd)

    @display(description="Total", ordering="total_usd")
    def total(self, statement: Statement) -> str:
        return formatters.usd(statement.total_usd)

    @display(description="Margin")
    def margin(self, statement: Statement) -> str:
        return formatters.usd(statement.total_usd - statement.upstream_cost_usd)
