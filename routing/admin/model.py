"""The catalogue."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from gateway_project.console_kit import formatters
from gateway_project.console_kit.pages import ConsolePage
from routing.models import Model


@admin.register(Model)
class ModelAdmin(ConsolePage):
    list_display = (
        "heading", "family", "enabled", "context", "output", "downgrade_to", "fallback_to", "used_by",
    )  # fmt: skip
    list_filter = (("family", ChoicesDropdownFilter), "enabled")
    list_select_related = ("downgrade_to", "fallback_to")
    search_fields = ("name", "upstream_name", "aliases")
    search_help_text = "Search by name or alias"
    autocomplete_fields = ("downgrade_to", "fallback_to")
    readonly_fields = ("created_at", "updated_at")
    fieldsets = (
        (None, {"fields": (("name", "upstream_name"), ("family", "enabled"), "aliases", "embeds")}),
        ("Token limits", {"fields": (("context_window", "max_output_tokens"),)}),
        ("Downgrade and fallback", {"fields": (("downgrade_to", "fallback_to"),)}),
        ("Dates", {"fields": (("created_at", "updated_at"),)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        allowed = Count("allowances", filter=Q(allowances__tenant__deleted_at=None))
        return super().get_queryset(request).annotate(tenant_count=allowed)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """The name is fixed, since ledger rows refer to the model by it."""
        return (*self.readonly_fields, "name") if obj else self.readonly_fields

    @display(description="Model", header=True, ordering="name")
    def heading(self, model: Model) -> list[str]:
        return [model.name, model.upstream_name if model.upstream_name != model.name else ""]

    @display(description="Context", ordering="context_window")
    def context(self, model: Model) -> str:
        return formatters.short_count(model.context_window)

    @display(description="Output", ordering="max_output_tokens")
    def output(self, model: Model) -> str:
        return formatters.short_count(model.max_output_tokens)

    @display(description="Tenants", ordering="tenant_count")
    def used_by(self, model: Any) -> int:
        return model.tenant_count
