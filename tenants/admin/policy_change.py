"""The outbox of policy changes, to see whether it is empty."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import display

from gateway_project.console_kit import formatters
from gateway_project.console_kit.pages import CountlessPage
from tenants.models import PolicyChange


class OpenFilter(DropdownFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [("open", "Not announced yet")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[PolicyChange]) -> QuerySet[PolicyChange]:
        return queryset.filter(applied_at=None) if self.value() == "open" else queryset


@admin.register(PolicyChange)
class PolicyChangeAdmin(CountlessPage):
    list_display = ("id", "source", "tenant", "when", "announced")
    list_filter = (OpenFilter,)
    list_select_related = ("tenant",)

    @display(description="Committed", ordering="created_at")
    def when(self, change: PolicyChange) -> str:
        return formatters.ago(change.created_at)

    @display(description="Announced", label={"yes": "success", "not yet": "warning"})
    def announced(self, change: PolicyChange) -> str:
        return "yes" if change.applied_at else "not yet"
