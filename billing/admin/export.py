"""The log of exports, and the form that makes one."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.template.response import TemplateResponse
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelect2Widget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSingleDateWidget,
    UnfoldAdminTextInputWidget,
)

from billing.exports import export as exports
from billing.models import UsageExport, UsageStatus
from gateway_project.console_kit import formatters
from gateway_project.console_kit.list_filters import Moments
from gateway_project.console_kit.pages import ReadOnlyPage
from gateway_project.ground.streamed import streamed
from routing.models import Model
from tenants.models import Tenant


class ExportForm(forms.Form):
    """What to export. An empty field means all."""

    tenant = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Slug of the tenant. Leave empty for all tenants.",
    )
    model = forms.ModelChoiceField(
        Model.objects.order_by("name"), required=False, to_field_name="name", widget=UnfoldAdminSelect2Widget
    )
    key = forms.IntegerField(
        required=False, min_value=1, widget=UnfoldAdminIntegerFieldWidget, help_text="ID of the API key."
    )
    status = forms.ChoiceField(
        choices=[("", "All"), *UsageStatus.choices], required=False, widget=UnfoldAdminSelectWidget
    )
    tag = forms.CharField(required=False, widget=UnfoldAdminTextInputWidget, help_text="name=value")
    since = forms.DateField(
        required=False, widget=UnfoldAdminSingleDateWidget, help_text="First day, in the time zone below."
    )
    until = forms.DateField(
        required=False, widget=UnfoldAdminSingleDateWidget, help_text="Last day (inclusive)."
    )
    timezone = forms.ChoiceField(
        choices=[("", "The tenant's, or UTC"), *((zone, zone) for zone in sorted(available_timezones()))],
        required=False,
        widget=UnfoldAdminSelect2Widget,
    )
    format = forms.ChoiceField(
        choices=[(name, name) for name in exports.FORMATS], widget=UnfoldAdminSelectWidget
    )
    columns = forms.MultipleChoiceField(
        choices=[(name, name) for name in exports.COLUMNS],
        initial=exports.DEFAULT_COLUMNS,
        widget=forms.CheckboxSelectMultiple,
    )

    def clean_tenant(self) -> Tenant | None:
        slug = self.cleaned_data["tenant"].strip()
        tenant = Tenant.objects.filter(slug=slug).first()
        if slug and tenant is None:
            raise forms.ValidationError(f"There is no tenant {slug!r}.")
        return tenant

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and until < since:
            self.add_error("until", "The last day is before the first.")
        return cleaned

    def zone(self) -> str:
        tenant = self.cleaned_data["tenant"]
        return self.cleaned_data["timezone"] or (tenant.timezone if tenant else "UTC")

    def filter(self) -> exports.Filter:
        """The filter; days are whole days in the file's time zone."""
        given, zone = self.cleaned_data, ZoneInfo(self.zone())

        def midnight(day: Any, *, later: int = 0) -> datetime | None:
            if day is None:
                return None
            return datetime.combine(day + timedelta(days=later), time.min, tzinfo=zone).astimezone(UTC)

        return exports.Filter(
            tenant=given["tenant"].slug if given["tenant"] else "",
            model=given["model"].name if given["model"] else "",
            key=given["key"],
            status=given["status"],
            tag=given["tag"],
            since=midnight(given["since"]),
            until=midnight(given["until"], later=1),
        )


@admin.register(UsageExport)
class UsageExportAdmin(ReadOnlyPage):
    empty_text = "Each export is logged with its control totals and its digest."
    list_display = (
        "id",
        "created_by",
        "created_at",
        "shown_status",
        "format",
        "filters",
        "shown_rows",
        "digest",
    )
    list_filter = (("status", ChoicesDropdownFilter), ("created_at", Moments))
    list_select_related = ("created_by",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.add_usageexport")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        """A form that responds with the file. The run is added to the log."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ExportForm(
            request.POST or None, initial={**request.GET.dict(), "columns": exports.DEFAULT_COLUMNS}
        )
        if form.is_valid():
            try:
                export = exports.begin(
                    form.filter(),
                    columns=form.cleaned_data["columns"],
                    zone=form.zone(),
                    file_format=form.cleaned_data["format"],
                    created_by=request.user,
                )
            except exports.BadExport as error:
                form.add_error(None, error.message)
            else:
                return streamed(
                    request,
                    lambda: exports.pieces(export),
                    content_type=exports.CONTENT_TYPES[export.format],
                    filename=f"usage-{export.pk}.{export.format}",
                )
        context = {
            **self.admin_site.each_context(request),
            "title": "Export usage",
            "form": form,
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/export.html", context)

    @display(description="Status", label={"Complete": "success", "Failed": "danger", "Running": "info"})
    def shown_status(self, export: UsageExport) -> str:
        return export.get_status_display()

    @display(description="Rows", ordering="rows")
    def shown_rows(self, export: UsageExport) -> str:
        return formatters.count(export.rows)
