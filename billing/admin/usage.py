"""The ledger and its daily roll-up, read-only."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
    TextFilter,
)
from unfold.decorators import display

from billing.ledger.tag_usage import tagged
from billing.models import DailyUsage, UsageRecord
from billing.request_ids import created_at
from gateway_project.console_kit import formatters
from gateway_project.console_kit.list_filters import Days, Moments, refuse
from gateway_project.console_kit.pages import CountlessPage
from routing.models import Model

STATUS_COLOURS = {"OK": "success", "Upstream error": "danger", "Cancelled": "warning", "Orphaned": "danger"}


class ModelFilter(DropdownFilter):
    """By model. The choices come from the catalogue: a SELECT DISTINCT would read the whole ledger."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in Model.objects.order_by("name").values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(model=self.value()) if self.value() else queryset


class EndUserFilter(TextFilter):
    """By end user: with a tenant over all time, by an index; without one over 30 days."""

    title = "end user"
    parameter_name = "end_user"

    def queryset(self, request: HttpRequest, queryset: QuerySet[UsageRecord]) -> QuerySet[UsageRecord]:
        if not self.value():
            return queryset
        if "tenant__id__exact" not in request.GET:
            queryset = queryset.filter(created_at__gte=timezone.now() - timedelta(days=30))
        return queryset.filter(end_user=self.value())


class TagFilter(TextFilter):
    """By tag, as name=value."""

    title = "tag (name=value)"
    parameter_name = "tag"

    def queryset(self, request: HttpRequest, queryset: QuerySet[UsageRecord]) -> QuerySet[UsageRecord]:
        tag = (self.value() or "").strip()
        if tag and "=" not in tag:
            refuse(request, f"{tag[:60]!r} is not a tag. Write it as name=value.")
        return tagged(queryset, tag) if tag else queryset


def of_request(rows: QuerySet[UsageRecord], request_id: UUID) -> QuerySet[UsageRecord]:
    """The row of a request id. The time in the id narrows it to an index lookup in one partition."""
    return rows.filter(request_id=request_id, created_at=created_at(str(request_id)))


@admin.register(UsageRecord)
class UsageRecordAdmin(CountlessPage):
    empty_text = "Calls appear here within a second."
    list_display = (
        "when", "tenant", "key", "model", "route", "shown_status", "tokens_in", "tokens_out", "cost",
        "latency", "end_user",
    )  # fmt: skip
    list_filter = (
        ("tenant", AutocompleteSelectFilter),
        ("api_key", AutocompleteSelectFilter),
        ModelFilter,
        ("status", ChoicesDropdownFilter),
        "estimated",
        ("created_at", Moments),
        EndUserFilter,
        TagFilter,
    )
    list_select_related = ("tenant", "api_key")
    search_fields = ("request_id",)
    search_help_text = "Search by full request ID"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("request_id", "created_at"),
                    ("tenant", "api_key"),
                    ("end_user", "session", "run_id"),
                )
            },
        ),
        (
            "Request",
            {
                "fields": (
                    ("wire", "stream"),
                    ("model_requested", "model_preferred", "model", "route"),
                    ("text_bytes", "message_count", "tool_count", "keyword"),
                    ("upstream_request_id", "tags"),
                )
            },
        ),
        ("Outcome", {"fields": (("status", "http_status", "estimated"), ("latency_ms", "ttft_ms"), "note")}),
        (
            "Tokens",
            {
                "fields": (
                    ("input_tokens", "output_tokens", "cache_read_tokens"),
                    ("cache_write_5m_tokens", "cache_write_1h_tokens", "web_searches"),
                )
            },
        ),
        (
            "Money",
            {"fields": (("cost", "upstream_cost", "saved"), "price", ("day", "period_start", "recorded_at"))},
        ),
    )
    readonly_fields = ("cost", "upstream_cost", "saved")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """By request id only: any other search would read the whole ledger."""
        if not search_term:
            return queryset, False
        try:
            return of_request(queryset, UUID(search_term.strip())), False
        except ValueError:
            messages.error(
                request,
                f"{search_term[:60]!r} is not a request ID. Copy it in full from the request-id header.",
            )
            return queryset.none(), False

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> UsageRecord | None:
        try:
            return of_request(
                self.get_queryset(request).select_related("price__model"), UUID(object_id)
            ).first()
        except ValueError:
            return None

    @display(description="Key", ordering="api_key__name")
    def key(self, row: UsageRecord) -> str:
        return row.api_key.name if row.api_key else formatters.NOTHING

    @display(description="Time (UTC)", ordering="created_at")
    def when(self, row: UsageRecord) -> str:
        return f"{row.created_at:%Y-%m-%d %H:%M:%S}"

    @display(description="Status", ordering="status", label=STATUS_COLOURS)
    def shown_status(self, row: UsageRecord) -> str:
        return row.get_status_display()

    @display(description="Tokens in")
    def tokens_in(self, row: UsageRecord) -> str:
        written = row.cache_write_5m_tokens + row.cache_write_1h_tokens
        return formatters.count(row.input_tokens + row.cache_read_tokens + written)

    @display(description="Tokens out")
    def tokens_out(self, row: UsageRecord) -> str:
        return formatters.count(row.output_tokens)

    @display(description="Cost")
    def cost(self, row: UsageRecord) -> str:
        return ("≈ " if row.estimated else "") + formatters.usd(row.cost_usd)

    @display(description="Cost price")
    def upstream_cost(self, row: UsageRecord) -> str:
        return formatters.usd(row.upstream_cost_usd)

    @display(description="Saved by a downgrade")
    def saved(self, row: UsageRecord) -> str:
        return formatters.usd(row.saved_usd)

    @display(description="Latency")
    def latency(self, row: UsageRecord) -> str:
        return formatters.milliseconds(row.latency_ms)


@admin.register(DailyUsage)
class DailyUsageAdmin(CountlessPage):
    empty_text = "Daily sums of the ledger, updated as calls are recorded."
    list_display = (
        "day", "tenant", "api_key", "model", "shown_status", "shown_requests", "tokens_in", "tokens_out",
        "cost",
    )  # fmt: skip
    list_filter = (
        ("tenant", AutocompleteSelectFilter),
        ModelFilter,
        ("status", ChoicesDropdownFilter),
        ("day", Days),
    )
    list_select_related = ("tenant", "api_key")
    ordering = ("-day",)
    sortable_by = ("day",)
    exclude = ("latency_buckets", "ttft_buckets")

    @display(description="Status", ordering="status", label=STATUS_COLOURS)
    def shown_status(self, row: DailyUsage) -> str:
        return row.get_status_display()

    @display(description="Requests")
    def shown_requests(self, row: DailyUsage) -> str:
        return formatters.count(row.requests)

    @display(description="Tokens in")
    def tokens_in(self, row: DailyUsage) -> str:
        written = row.cache_write_5m_tokens + row.cache_write_1h_tokens
        return formatters.count(row.input_tokens + row.cache_read_tokens + written)

    @display(description="Tokens out")
    def tokens_out(self, row: DailyUsage) -> str:
        return formatters.count(row.output_tokens)

    @display(description="Cost")
    def cost(self, row: DailyUsage) -> str:
        return formatters.usd(row.cost_usd)
