"""Credits, corrections, grants and top-ups: booked, never edited."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display

from billing.ledger.adjustments import book
from billing.models import Adjustment, AdjustmentKind
from gateway_project.console_kit import formatters
from gateway_project.console_kit.list_filters import Moments
from gateway_project.console_kit.pages import InsertOnlyPage, staff_of

COLOURS = {"Credit": "success", "Top-up": "success", "Budget grant": "info", "Correction": "warning"}


class AdjustmentForm(forms.ModelForm):
    """The adjustments that staff may book; late settlements are booked by the drain."""

    class Meta:
        model = Adjustment
        fields = ("tenant", "kind", "amount_usd", "reason", "reference", "expires_at")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "kind" in self.fields:
            offered = [choice for choice in AdjustmentKind.choices if choice[0] != AdjustmentKind.LATE_SETTLE]
            self.fields["kind"] = forms.ChoiceField(choices=offered, widget=self.fields["kind"].widget)
            self.fields["amount_usd"].help_text = (
                "Credits, grants and top-ups: a positive amount in the tenant's favour. "
                "Corrections: the amount added to its bill, negative for a refund."
            )


@admin.register(Adjustment)
class AdjustmentAdmin(InsertOnlyPage):
    empty_text = "Add a credit, correction, budget grant or top-up."
    form = AdjustmentForm
    list_display = (
        "created_at",
        "tenant",
        "shown_kind",
        "amount",
        "reason",
        "reference",
        "period_start",
        "created_by",
    )
    list_filter = (
        ("tenant", AutocompleteSelectFilter),
        ("kind", ChoicesDropdownFilter),
        ("created_at", Moments),
    )
    list_select_related = ("tenant", "created_by")
    search_fields = ("reference", "reason", "tenant__slug")
    autocomplete_fields = ("tenant",)
    fieldsets = (
        (None, {"fields": (("tenant", "kind"), ("amount_usd", "reference"), "reason", "expires_at")}),
    )
    view_fieldsets = (
        (None, {"fields": (("tenant", "kind"), ("amount", "expires_at"), "reason", "reference")}),
        (
            "Booked",
            {
                "fields": (
                    ("period_start", "statement", "request_id"),
                    ("created_at", "created_by"),
                    "details",
                )
            },
        ),
    )
    readonly_fields = ("amount",)

    def get_fieldsets(self, request: HttpRequest, obj: Adjustment | None = None) -> Any:
        return self.view_fieldsets if obj else self.fieldsets

    def save_model(self, request: HttpRequest, obj: Adjustment, form: Any, change: bool) -> None:
        booked = book(
            tenant=obj.tenant,
            kind=obj.kind,
            amount_usd=obj.amount_usd,
            reason=obj.reason,
            reference=obj.reference,
            expires_at=obj.expires_at,
            by=staff_of(request),
        )
        obj.pk = booked.pk

    @display(description="Kind", ordering="kind", label=COLOURS)
    def shown_kind(self, adjustment: Adjustment) -> str:
        return adjustment.get_kind_display()

    @display(description="Amount", ordering="amount_usd")
    def amount(self, adjustment: Adjustment) -> str:
        return formatters.usd(adjustment.amount_usd)
