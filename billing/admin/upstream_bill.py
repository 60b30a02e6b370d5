"""The upstream's bill: its lines, the form to import one, and its comparison with the ledger."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from unfold.decorators import display
from unfold.widgets import UnfoldAdminFileFieldWidget

from billing.models import BillCheck, UpstreamUsage
from billing.upstream_bill.comparison import import_bill
from billing.upstream_bill.parsing import BadBill, read_csv
from gateway_project.console_kit import formatters
from gateway_project.console_kit.list_filters import Days
from gateway_project.console_kit.pages import ReadOnlyPage

LARGEST = 20 * 1024 * 1024


class BillForm(forms.Form):
    """The upload of a bill as CSV."""

    file = forms.FileField(
        widget=UnfoldAdminFileFieldWidget,
        label="CSV",
        help_text="A header row with day, model and cost_usd; requests and token columns are optional.",
    )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > LARGEST:
            raise forms.ValidationError("Larger than 20 MB: use manage.py import_upstream_bill.")
        return file


@admin.register(UpstreamUsage)
class UpstreamUsageAdmin(ReadOnlyPage):
    list_display = ("day", "model", "requests", "input_tokens", "output_tokens", "billed", "source")
    list_filter = (("day", Days),)
    search_fields = ("model",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.add_upstreamusage")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """A form that imports a bill and shows how it compares."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = BillForm(request.POST or None, request.FILES or None)
        if form.is_valid():
            file = form.cleaned_data["file"]
            try:
                imported = import_bill(read_csv(file.read(), settings.UPSTREAM_BILL_FIELDS), source=file.name)
            except BadBill as error:
                form.add_error("file", error.message)
            else:
                differing = len(imported.differing)
                told = f"{imported.lines} lines imported. {differing} of {len(imported.checks)} differ."
                (messages.warning if differing else messages.success)(request, told)
                return redirect("admin:billing_billcheck_changelist")
        context = {
            **self.admin_site.each_context(request),
            "title": "Import a bill",
            "form": form,
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/import_bill.html", context)

    @display(description="Billed", ordering="cost_usd")
    def billed(self, line: UpstreamUsage) -> str:
        return formatters.usd(line.cost_usd)


@admin.register(BillCheck)
class BillCheckAdmin(ReadOnlyPage):
    list_display = ("day", "model", "verdict", "billed", "booked", "difference", "requests", "checked")
    list_filter = ("ok", ("day", Days))
    search_fields = ("model",)
    date_hierarchy = "day"
    fields = (("day", "model", "verdict"), ("billed", "booked", "difference"), "counts", "checked_at")
    readonly_fields = ("verdict", "billed", "booked", "difference")

    @display(description="Result", ordering="ok", label={"matches": "success", "differs": "danger"})
    def verdict(self, check: BillCheck) -> str:
        return "matches" if check.ok else "differs"

    @display(description="Billed", ordering="billed_usd")
    def billed(self, check: BillCheck) -> str:
        return formatters.usd(check.billed_usd)

    @display(description="Booked", ordering="booked_usd")
    def booked(self, check: BillCheck) -> str:
        return formatters.usd(check.booked_usd)

    @display(description="Difference", ordering="difference_usd")
    def difference(self, check: BillCheck) -> str:
        return formatters.usd(check.difference_usd)

    @display(description="Requests billed / booked")
    def requests(self, check: BillCheck) -> str:
        billed, booked = check.counts.get("requests", [None, None])
        return f"{formatters.count(billed)} / {formatters.count(booked)}"

    @display(description="Checked", ordering="checked_at")
    def checked(self, check: BillCheck) -> str:
        return formatters.ago(check.checked_at)
