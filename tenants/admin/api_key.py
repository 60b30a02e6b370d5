"""API keys: shown once when issued, rotated with an overlap, revoked at once."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget

from gateway_project.console_kit import formatters
from gateway_project.console_kit.pages import ConsolePage, staff_of
from gateway_project.console_kit.stale_forms import AsShownForm
from tenants.keys import issue_key, refuse_past, revoke_key, rotate_key
from tenants.models import ApiKey

STATE_COLOURS = {"live": "success", "expired": "warning", "revoked": "danger"}


class KeyStateFilter(DropdownFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("live", "Live"),
            ("expired", "Expired"),
            ("revoked", "Revoked"),
            ("unused", "Live, never used"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        live = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
        states = {
            "live": live,
            "expired": Q(revoked_at=None, expires_at__lte=timezone.now()),
            "revoked": Q(revoked_at__isnull=False),
            "unused": live & Q(last_used_at=None),
        }
        return queryset.filter(states.get(self.value() or "", Q()))


class RotateForm(forms.Form):
    """How long the old key still works besides the new one."""

    overlap = forms.TypedChoiceField(
        choices=[
            (0, "Revoke it now"),
            (1, "1 hour"),
            (24, "1 day"),
            (24 * 7, "7 days"),
            (24 * 30, "30 days"),
        ],
        coerce=int,
        initial=24,
        widget=UnfoldAdminSelectWidget,
        label="The old key keeps working for",
    )


class KeyForm(AsShownForm):
    def clean_expires_at(self) -> datetime | None:
        moment: datetime | None = self.cleaned_data["expires_at"]
        if "expires_at" in self.changed_data:
            refuse_past(moment)
        return moment


@admin.register(ApiKey)
class ApiKeyAdmin(ConsolePage):
    form = KeyForm
    list_display = (
        "heading", "tenant", "shown_state", "max_requests_per_minute", "budget", "used", "expires_at",
        "created_at",
    )  # fmt: skip
    list_filter = (KeyStateFilter, ("tenant", AutocompleteSelectFilter))
    list_select_related = ("tenant",)
    search_fields = ("prefix", "name", "tenant__slug")
    search_help_text = "Search by prefix, name or tenant"
    autocomplete_fields = ("tenant",)
    fields = (
        ("tenant", "name"),
        ("max_requests_per_minute", "monthly_budget_usd"),
        "expires_at",
        ("prefix", "shown_state"),
        ("created_at", "created_by", "last_used_at"),
        ("revoked_at", "replaced_by"),
    )
    readonly_fields = (
        "prefix",
        "shown_state",
        "created_at",
        "created_by",
        "last_used_at",
        "revoked_at",
        "replaced_by",
    )
    actions_detail = ("rotate", "revoke")

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return self.fields if obj else self.fields[:3]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return (*self.readonly_fields, "tenant") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Never: a revoked key stays, so that ledger rows keep its name."""
        return False

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        issued = issue_key(
            tenant=obj.tenant,
            name=obj.name,
            expires_at=obj.expires_at,
            max_requests_per_minute=obj.max_requests_per_minute,
            monthly_budget_usd=obj.monthly_budget_usd,
            created_by=staff_of(request),
        )
        obj.__dict__.update(issued.api_key.__dict__)
        request.issued_key = issued.key  # type: ignore[attr-defined]

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The only page that ever shows the key. There is no redirect, so that the key is stored nowhere."""
        return self._shown_once(request, key=request.issued_key, api_key=obj)  # type: ignore[attr-defined]

    def _shown_once(self, request: HttpRequest, *, key: str, api_key: ApiKey) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "key": key, "api_key": api_key}
        context["title"] = "The new key"
        return TemplateResponse(
            request, "admin/key_issued.html", context, headers={"Cache-Control": "no-store"}
        )

    @action(description="Rotate", icon="autorenew", url_path="rotate", permissions=["change"])
    def rotate(self, request: HttpRequest, object_id: int) -> HttpResponse:
        key = ApiKey.objects.select_related("tenant").get(pk=object_id)
        form = RotateForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            overlap = timedelta(hours=form.cleaned_data["overlap"])
            try:
                issued = rotate_key(api_key=key, overlap=overlap, created_by=staff_of(request))
            except ValueError as refusal:
                messages.error(request, str(refusal))
                return redirect(reverse("admin:tenants_apikey_change", args=[key.pk]))
            self.log_change(request, key, f"Rotated. The old key keeps working for {overlap}.")
            return self._shown_once(request, key=issued.key, api_key=issued.api_key)
        return self._confirm(request, key=key, form=form, title="Rotate this key", verb="Rotate")

    @action(description="Revoke", icon="block", url_path="revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, object_id: int) -> HttpResponse:
        key = ApiKey.objects.select_related("tenant").get(pk=object_id)
        if request.method == "POST":
            revoke_key(api_key=key)
            self.log_change(request, key, "Revoked.")
            messages.success(request, f"{key} has been revoked. Requests with it are now refused.")
            return redirect(f"{reverse('admin:tenants_tenant_change', args=[key.tenant_id])}#keys")
        return self._confirm(request, key=key, form=None, title="Revoke this key", verb="Revoke")

    def _confirm(
        self, request: HttpRequest, *, key: ApiKey, form: forms.Form | None, title: str, verb: str
    ) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "api_key": key, "form": form}
        context |= {"title": title, "verb": verb}
        return TemplateResponse(request, "admin/key_confirm.html", context)

    @display(description="Key", header=True, ordering="name")
    def heading(self, key: ApiKey) -> list[str]:
        return [key.name, f"{key.prefix}…"]

    @display(description="State", label=STATE_COLOURS)
    def shown_state(self, key: ApiKey) -> str:
        return key.state

    @display(description="Monthly budget", ordering="monthly_budget_usd")
    def budget(self, key: ApiKey) -> str:
        return formatters.usd(key.monthly_budget_usd)

    @display(description="Last used", ordering="last_used_at")
    def used(self, key: ApiKey) -> str:
        return formatters.ago(key.last_used_at)
