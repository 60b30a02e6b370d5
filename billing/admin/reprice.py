"""The page that reprices a period's calls: a preview first, then the adjustments."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminSingleDateWidget,
    UnfoldAdminTextInputWidget,
)

from billing.models import ModelPrice
from billing.prices.repricing import Repricing, RepricingAsked, book_repricing, preview
from gateway_project.console_kit import formatters
from gateway_project.console_kit.pages import staff_of
from gateway_project.ground.errors import TenantryError
from gateway_project.ground.statement_timeout import statements_within
from routing.models import Model
from tenants.models import Tenant


class RepriceForm(forms.Form):
    """What to reprice: whole UTC days, of one tenant or all."""

    model = forms.ModelChoiceField(Model.objects.order_by("name"), widget=UnfoldAdminSelectWidget)
    since = forms.DateField(widget=UnfoldAdminSingleDateWidget, help_text="First day (UTC).")
    until = forms.DateField(widget=UnfoldAdminSingleDateWidget, help_text="Last day (UTC, inclusive).")
    tenant = forms.SlugField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Slug of the tenant. Leave empty for all tenants.",
    )
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="Shown to tenants on their statements.",
    )

    def clean_tenant(self) -> Tenant | None:
        slug = self.cleaned_data["tenant"]
        tenant = Tenant.objects.filter(slug=slug).first()
        if slug and tenant is None:
            raise forms.ValidationError(f"There is no tenant {slug!r}.")
        return tenant

    def asked(self, price: ModelPrice) -> RepricingAsked:
        given = self.cleaned_data
        return RepricingAsked(
            model=given["model"],
            since=given["since"],
            until=given["until"],
            tenant=given["tenant"],
            price=price,
        )


def reprice_page(page: admin.ModelAdmin, request: HttpRequest, price: ModelPrice) -> HttpResponse:
    """Show what would be booked, with a button that books it (`book` in the form)."""
    form = RepriceForm(request.POST or None, initial={"model": price.model})
    repricing: Repricing | None = None
    if form.is_valid():
        try:
            asked = form.asked(price)
            if "book" in request.POST:
                with statements_within(settings.EXPORT_STATEMENT_TIMEOUT_SECONDS):
                    booked = book_repricing(asked, reason=form.cleaned_data["reason"], by=staff_of(request))
                messages.success(request, f"{len(booked)} corrections booked.")
                return redirect("admin:billing_adjustment_changelist")
            with statements_within(settings.EXPORT_STATEMENT_TIMEOUT_SECONDS):
                repricing = preview(asked)
        except TenantryError as error:
            form.add_error(None, error.message)
    context: dict[str, Any] = {
        **page.admin_site.each_context(request),
        "title": f"Re-price a period with {price}",
        "opts": page.opts,
        "price": price,
        "form": form,
        "lines": [_shown(line) for line in repricing.lines] if repricing else [],
        "repricing": repricing,
        "difference": formatters.usd(repricing.difference_usd) if repricing else "",
    }
    return TemplateResponse(request, "admin/reprice.html", context)


def _shown(line: Any) -> list[str]:
    amounts = (line.booked_usd, line.priced_usd, line.corrected_usd, line.difference_usd)
    return [
        line.tenant.slug,
        line.period_start.isoformat(),
        formatters.count(line.calls),
        *(formatters.usd(amount) for amount in amounts),
    ]
