"""The pages of the books: reconciliation, the hash chain, archives."""

from django.contrib import admin
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from billing.models import DriftReport, LedgerArchive, LedgerBatch
from gateway_project.console_kit import formatters
from gateway_project.console_kit.pages import CountlessPage, ReadOnlyPage


@admin.register(DriftReport)
class DriftReportAdmin(CountlessPage):
    list_display = (
        "when",
        "tenant",
        "verdict",
        "redis",
        "ledger",
        "roll_up",
        "reserved",
        "undrained",
        "drift",
    )
    list_filter = ("ok", ("tenant", AutocompleteSelectFilter))
    list_select_related = ("tenant",)

    @display(description="Checked", ordering="checked_at")
    def when(self, report: DriftReport) -> str:
        return formatters.ago(report.checked_at)

    @display(description="Result", ordering="ok", label={"matches": "success", "differs": "danger"})
    def verdict(self, report: DriftReport) -> str:
        return "matches" if report.ok else "differs"

    @display(description="Live counter")
    def redis(self, report: DriftReport) -> str:
        return formatters.usd(report.redis_usd)

    @display(description="Ledger")
    def ledger(self, report: DriftReport) -> str:
        return formatters.usd(report.ledger_usd)

    @display(description="Roll-up")
    def roll_up(self, report: DriftReport) -> str:
        return formatters.usd(report.rollup_usd)

    @display(description="Reserved")
    def reserved(self, report: DriftReport) -> str:
        return formatters.usd(report.reserved_usd)

    @display(description="Difference", ordering="drift_usd")
    def drift(self, report: DriftReport) -> str:
        return formatters.usd(report.drift_usd)


@admin.register(LedgerBatch)
class LedgerBatchAdmin(CountlessPage):
    list_display = ("shard", "number", "rows", "hash", "previous_hash", "created_at")
    list_filter = ("shard",)
    search_fields = ("hash",)
    sortable_by = ("number",)


@admin.register(LedgerArchive)
class LedgerArchiveAdmin(ReadOnlyPage):
    list_display = ("month", "shown_rows", "cost", "file", "file_digest", "archived_at", "restored_at")

    @display(description="Rows", ordering="rows")
    def shown_rows(self, archive: LedgerArchive) -> str:
        return formatters.count(archive.rows)

    @display(description="Cost", ordering="cost_usd")
    def cost(self, archive: LedgerArchive) -> str:
        return formatters.usd(archive.cost_usd)
