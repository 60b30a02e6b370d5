"""Actions on several tenants at once. Those that cut off calls or cost money ask first, and record a reason."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextInputWidget

from gateway_project.console_kit import formatters
from tenants.budgets import raise_budget
from tenants.models import Tenant, TenantStatus
from tenants.status import set_status

if TYPE_CHECKING:
    from tenants.spend import SpendingTenant


class SuspendForm(forms.Form):
    reason = forms.CharField(
        max_length=200,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Recorded in the audit trail.",
    )


class RaiseForm(forms.Form):
    by_usd = forms.DecimalField(
        label="Raise the monthly budget by (USD)",
        min_value=0,
        max_digits=16,
        decimal_places=9,
        widget=UnfoldAdminDecimalFieldWidget,
    )
    reason = forms.CharField(
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="Recorded in the audit trail.",
    )


class TenantActions:
    """Mixin for the tenants' page."""

    admin_site: admin.AdminSite
    opts: Any

    def has_export_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("billing.add_usageexport")

    @action(description="Suspend…", permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        def apply(tenants: list[Any], given: dict[str, Any]) -> str:
            count = set_status(tenants, status=TenantStatus.SUSPENDED, reason=given["reason"])
            return f"{count} suspended. Their requests are now refused."

        warning = "Requests of these tenants will be refused immediately with 403 tenant_suspended."
        return self._with_form(request, queryset, form=SuspendForm, verb="Suspend", text=warning, apply=apply)

    @action(description="Resume", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        count = set_status(list(queryset), status=TenantStatus.ACTIVE)
        messages.success(request, f"{count} resumed. Their requests are now served.")

    @action(description="Raise budget…", permissions=["change"])
    def raise_budget(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        def apply(tenants: list[Any], given: dict[str, Any]) -> str:
            raised = [
                tenant
                for tenant in tenants
                if raise_budget(tenant=tenant, by_usd=given["by_usd"], reason=given["reason"])
            ]
            left = len(tenants) - len(raised)
            return f"{len(raised)} raised by {formatters.usd(given['by_usd'])}" + (
                f". {left} unchanged: no monthly budget." if left else "."
            )

        text = (
            "Takes effect immediately and stays until you change it. To raise a budget for this period only, "
            "add a budget grant. To raise a prepaid balance, add a top-up."
        )
        return self._with_form(
            request,
            queryset,
            form=RaiseForm,
            verb="Raise budget",
            heading="Raise the budget of",
            text=text,
            apply=apply,
        )

    @action(description="Export usage…", permissions=["export"])
    def export_usage(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> HttpResponse | None:
        chosen = list(queryset[:2])
        if len(chosen) > 1:
            messages.error(request, "Select one tenant. To export all tenants, go to Usage › Exports.")
            return None
        return redirect(f"{reverse('admin:billing_usageexport_add')}?tenant={chosen[0].slug}")

    def _with_form(
        self,
        request: HttpRequest,
        queryset: QuerySet[Any],
        *,
        form: type[forms.Form],
        verb: str,
        heading: str = "",
        text: str,
        apply: Callable[[list[Any], dict[str, Any]], str],
    ) -> HttpResponse | None:
        """Show a page with the form; once it is submitted, call `apply` with its values."""
        tenants: list[SpendingTenant] = list(queryset)
        filled = form(request.POST if "sure" in request.POST else None)
        if filled.is_valid():
            try:
                with transaction.atomic():
                    done = apply(tenants, filled.cleaned_data)
            except ValidationError as refusal:
                filled.add_error(None, refusal.messages)
            else:
                messages.success(request, done)
                return None
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": verb,
            "verb": verb,
            "heading": heading or verb,
            "text": text,
            "form": filled,
            "action": request.POST["action"],
            "tenants": [
                (tenant, formatters.budget_bar(spent=tenant.spent_usd, budget=tenant.budget_usd))
                for tenant in tenants
            ],
        }
        return TemplateResponse(request, "admin/tenant_action.html", context)
