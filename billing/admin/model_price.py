"""The price list: a new price supersedes the old one; none is edited."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Case, CharField, F, QuerySet, Value, When, Window
from django.db.models.functions import Lead, Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldBooleanSwitchWidget

from billing.admin.price_timeline import timeline
from billing.admin.reprice import reprice_page
from billing.models import ModelPrice
from billing.prices.rates import CACHED, PRICE_COLUMNS, Rates, with_cached_as_input
from billing.prices.unit_check import slips
from gateway_project.console_kit.pages import InsertOnlyPage, staff_of


class PriceStateFilter(DropdownFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("in force", "In force"), ("to come", "Scheduled"), ("superseded", "Superseded")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state=self.value()) if self.value() else queryset


def with_state(prices: QuerySet[ModelPrice]) -> QuerySet[Any]:
    """Add `state`: in force, to come or superseded."""
    following = Window(
        Lead("effective_from"), partition_by=[F("model"), F("context_over_tokens")], order_by="effective_from"
    )
    return prices.annotate(next_from=following).annotate(
        state=Case(
            When(effective_from__gt=Now(), then=Value("to come")),
            When(next_from__lte=Now(), then=Value("superseded")),
            default=Value("in force"),
            output_field=CharField(),
        )
    )


class ModelPriceForm(forms.ModelForm):
    """A new price. One that looks like a slip of units has to be confirmed."""

    confirmed = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        label="Confirm an unusual price",
        help_text="Only needed if the price is far from what similar models cost. You will be asked.",
    )

    class Meta:
        model = ModelPrice
        fields = ("model", "effective_from", "context_over_tokens", *PRICE_COLUMNS, "source")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in CACHED:
            if name in self.fields:
                self.fields[name].required = False
                self.fields[name].help_text = "If empty, the input price is used."
                if name not in (kwargs.get("initial") or {}):
                    self.initial[name] = None  # not the column's default 0, which would make it free

    def clean(self) -> dict[str, Any]:
        cleaned = with_cached_as_input(super().clean() or {})
        if self.errors or "confirmed" not in cleaned:
            return cleaned
        rates = Rates(**{name: cleaned[f"{name}_usd"] for name in Rates.__struct_fields__})
        doubts = slips(cleaned["model"], rates)
        if doubts and not cleaned["confirmed"]:
            for column, doubt in doubts.items():
                self.add_error(column, doubt)
            self.add_error("confirmed", "To confirm, turn this on and save again.")
        return cleaned


@admin.register(ModelPrice)
class ModelPriceAdmin(InsertOnlyPage):
    form = ModelPriceForm
    list_display = (
        "heading", "shown_state", "effective_from", "input", "output", "cache_read", "cache_write_5m",
        "cache_write_1h", "web_search", "source",
    )  # fmt: skip
    list_filter = (PriceStateFilter, ("model", AutocompleteSelectFilter))
    list_select_related = ("model",)
    search_fields = ("model__name", "source")
    autocomplete_fields = ("model",)
    actions_detail = ("supersede", "reprice")
    change_form_outer_before_template = "admin/price_timeline.html"
    view_fieldsets = (
        (None, {"fields": (("model", "source"), "effective_from", "context_over_tokens")}),
        ("USD per 1M tokens", {"fields": (PRICE_COLUMNS[:2], PRICE_COLUMNS[2:5])}),
        ("USD per 1,000 web searches", {"fields": ("web_search_usd",)}),
        ("Added", {"fields": (("created_at", "created_by"),)}),
    )
    fieldsets = (*view_fieldsets[:3], ("Confirmation", {"fields": ("confirmed",)}))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        price = context.get("original")
        context["timeline"] = timeline(price) if price else []
        return super().render_change_form(request, context, *args, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: ModelPrice | None = None) -> Any:
        return self.view_fieldsets if obj else self.fieldsets

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_state(super().get_queryset(request))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A price that is not in force yet may be deleted; the database refuses the others."""
        allowed = request.user.has_perm("billing.delete_modelprice")
        return allowed and obj is not None and obj.effective_from > timezone.now()

    def has_supersede_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return self.has_add_permission(request)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """The values of the row to supersede."""
        initial = super().get_changeform_initial_data(request)
        old = str(initial.pop("supersedes", ""))
        if old.isdecimal() and len(old) < 19:
            fields = ("model", "context_over_tokens", *PRICE_COLUMNS)
            initial |= ModelPrice.objects.filter(pk=old).values(*fields).first() or {}
        return initial

    def save_model(self, request: HttpRequest, obj: ModelPrice, form: Any, change: bool) -> None:
        obj.created_by = staff_of(request)
        super().save_model(request, obj, form, change)

    @action(description="Supersede", icon="add", url_path="supersede", permissions=["supersede"])
    def supersede(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return redirect(f"{reverse('admin:billing_modelprice_add')}?supersedes={object_id}")

    def has_reprice_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("billing.add_adjustment")

    @action(description="Re-price a period", icon="history", url_path="reprice", permissions=["reprice"])
    def reprice(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return reprice_page(self, request, get_object_or_404(ModelPrice, pk=object_id))

    @display(description="Model", header=True, ordering="model__name")
    def heading(self, price: ModelPrice) -> list[str]:
        over = price.context_over_tokens
        return [price.model.name if price.model else "Default", f"inputs over {over:,}" if over else ""]

    @display(description="State", label={"in force": "success", "scheduled": "info", "superseded": "default"})
    def shown_state(self, price: Any) -> str:
        return "scheduled" if price.state == "to come" else price.state

    @display(description="Input", ordering="input_usd")
    def input(self, price: ModelPrice) -> str:
        return f"{price.input_usd.normalize():f}"

    @display(description="Output", ordering="output_usd")
    def output(self, price: ModelPrice) -> str:
        return f"{price.output_usd.normalize():f}"

    @display(description="Cache read", ordering="cache_read_usd")
    def cache_read(self, price: ModelPrice) -> str:
        return f"{price.cache_read_usd.normalize():f}"

    @display(description="Write 5 min", ordering="cache_write_5m_usd")
    def cache_write_5m(self, price: ModelPrice) -> str:
        return f"{price.cache_write_5m_usd.normalize():f}"

    @display(description="Write 1 h", ordering="cache_write_1h_usd")
    def cache_write_1h(self, price: ModelPrice) -> str:
        return f"{price.cache_write_1h_usd.normalize():f}"

    @display(description="1,000 searches", ordering="web_search_usd")
    def web_search(self, price: ModelPrice) -> str:
        return f"{price.web_search_usd.normalize():f}"
