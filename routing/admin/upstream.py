"""Upstreams besides EzAI. A key can be entered, and is never shown again."""

from typing import Any

from django import forms
from django.contrib import admin
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminPasswordWidget

from gateway_project.console_kit.pages import ConsolePage
from gateway_project.console_kit.stale_forms import AsShownForm
from routing.models import Upstream
from routing.models.upstream import UpstreamFormat


class UpstreamForm(AsShownForm):
    api_key = forms.CharField(
        label="API key",
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
        help_text="Stored encrypted. Leave empty to keep the current key.",
    )

    wires = forms.MultipleChoiceField(
        choices=UpstreamFormat.choices,
        initial=list(UpstreamFormat.values),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="API formats this upstream accepts.",
    )

    class Meta:
        model = Upstream
        fields = ("name", "base_url", "api_key", "wires", "priority", "enabled")

    def clean_api_key(self) -> str:
        given: str = self.cleaned_data["api_key"].strip()
        if not given and not self.instance.pk:
            raise forms.ValidationError("A new upstream needs an API key.")
        return given or self.instance.api_key


@admin.register(Upstream)
class UpstreamAdmin(ConsolePage):
    form = UpstreamForm
    list_display = ("name", "base_url", "wires", "priority", "enabled")
    list_filter = ("enabled",)
    search_fields = ("name", "base_url")

    def get_readonly_fields(self, request: Any, obj: Upstream | None = None) -> Any:
        return ("name",) if obj else ()
