"""The roll-ups by tag and by refusal, read-only."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter, TextFilter
from unfold.decorators import display

from billing.admin.usage import ModelFilter
from billing.models import DailyTagUsage, DailyVerdict
from gateway_project.console_kit import formatters
from gateway_project.console_kit.list_filters import Days, chosen
from gateway_project.console_kit.pages import CountlessPage


class NameFilter(TextFilter):
    title = "tag"
    parameter_name = "name"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(name=self.value()) if self.value() else queryset


class ValueFilter(TextFilter):
    title = "value"
    parameter_name = "value"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(value=self.value()) if self.value() else queryset


@admin.register(DailyTagUsage)
class DailyTagUsageAdmin(CountlessPage):
    list_display = ("day", "tenant", "name", "value", "model", "shown_requests", "shown_tokens", "cost")
    list_filter = (
        ("tenant", AutocompleteSelectFilter),
        NameFilter,
        ValueFilter,
        ModelFilter,
        ("day", Days),
    )
    list_select_related = ("tenant",)
    ordering = ("-day",)
    sortable_by = ("day",)

    @display(description="Requests")
    def shown_requests(self, row: DailyTagUsage) -> str:
        return formatters.count(row.requests)

    @display(description="Tokens")
    def shown_tokens(self, row: DailyTagUsage) -> str:
        return formatters.count(row.tokens)

    @display(description="Cost")
    def cost(self, row: DailyTagUsage) -> str:
        return formatters.usd(row.cost_usd)


class ShadowFilter(DropdownFilter):
    title = "outcome"
    parameter_name = "shadow"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "Refused"), ("yes", "Shadow mode (not enforced)")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = chosen(request, self)
        return queryset.filter(shadow=value == "yes") if value else queryset


@admin.register(DailyVerdict)
class DailyVerdictAdmin(CountlessPage):
    list_display = ("day", "tenant", "shown_kind", "code", "detail", "shown_requests")
    list_filter = (("tenant", AutocompleteSelectFilter), ShadowFilter, ("day", Days))
    list_select_related = ("tenant",)
    ordering = ("-day",)
    sortable_by = ("day",)

    @display(description="Outcome", label={"Refused": "danger", "Shadow mode": "info"})
    def shown_kind(self, row: DailyVerdict) -> str:
        return "Shadow mode" if row.shadow else "Refused"

    @display(description="Requests")
    def shown_requests(self, row: DailyVerdict) -> str:
        return formatters.count(row.requests)
