"""Tenants: who they are, what limits them, what they spend."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter, RelatedDropdownFilter
from unfold.decorators import action, display

from gateway_project.console import cells
from gateway_project.console.pages import ConsolePage, ReadOnlyInline
from tenants.admin.api_key import STATE_COLOURS
from tenants.admin.tenant_form import TenantForm
from tenants.admin.tenant_insight import insight
from tenants.models import AllowedModel, ApiKey, Membership, Tenant, TenantStatus
from tenants.spend import near_budget, with_spend

if TYPE_CHECKING:
    from tenants.spend import SpendingTenant


class NearBudgetFilter(DropdownFilter):
    title = "budget"
    parameter_name = "budget"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("80", "80 % spent or more"), ("100", "used up")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return near_budget(queryset, percent=int(self.value())) if self.value() in {"80", "100"} else queryset


class DeletedFilter(DropdownFilter):
    title = "deleted"
    parameter_name = "deleted"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Deleted ones")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(deleted_at__isnull=self.value() != "yes")


class KeyInline(ReadOnlyInline):
    model = ApiKey
    fields = (
        "name",
        "prefix",
        "key_state",
        "max_requests_per_minute",
        "monthly_budget_usd",
        "expires_at",
        "last_used_at",
    )
    readonly_fields = ("prefix", "key_state", "last_used_at")
    ordering = ("-created_at",)
    verbose_name_plural = "API keys"
    tab = True
    per_page = 20

    @display(description="State", label=STATE_COLOURS)
    def key_state(self, key: ApiKey) -> str:
        return key.state


class MembershipInline(ReadOnlyInline):
    model = Membership
    fields = ("user", "role", "created_at")
    readonly_fields = ("created_at",)
    autocomplete_fields = ("user",)
    verbose_name_plural = "portal members"
    tab = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("user", "tenant")


@admin.register(Tenant)
class TenantAdmin(ConsolePage):
    form = TenantForm
    list_display = (
        "heading",
        "tier",
        "shown_status",
        "spend",
        "requests",
        "mode",
        "live_keys",
        "created",
    )
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ("tier", RelatedDropdownFilter),
        ("budget_mode", ChoicesDropdownFilter),
        NearBudgetFilter,
        DeletedFilter,
    )
    list_select_related = ("tier",)
    search_fields = ("slug", "name")
    search_help_text = "Search by name or slug"
    autocomplete_fields = ("tier", "default_model")
    readonly_fields = ("spend", "requests", "created_at", "updated_at", "deleted_at")
    prepopulated_fields = {"slug": ("name",)}
    actions = ("suspend", "resume")
    actions_detail = ("issue_key", "ledger_of")
    inlines = (KeyInline, MembershipInline)
    change_form_outer_before_template = "admin/tenant_insight.html"
    fieldsets = (
        (None, {"fields": (("name", "slug"), ("tier", "status"), ("spend", "requests"))}),
        ("Models", {"fields": ("models", "default_model")}),
        (
            "Limits",
            {
                "description": "An empty limit is the tier's.",
                "fields": (
                    ("max_requests_per_minute", "max_user_requests_per_minute"),
                    ("max_concurrency", "max_tokens_per_day"),
                ),
            },
        ),
        (
            "Money",
            {
                "fields": (
                    ("monthly_budget_usd", "budget_mode"),
                    ("user_monthly_budget_usd", "downgrade_percent"),
                    ("alert_percents", "margin_percent"),
                    ("billing_day", "timezone"),
                )
            },
        ),
        ("Behaviour", {"fields": (("disconnect_policy", "alert_emails"), "note")}),
        ("Dates", {"fields": (("created_at", "updated_at", "deleted_at"),)}),
        ("This change", {"fields": (("reason", "confirmed"),)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # A subquery, not a join: the page's COUNT(*) then leaves it out.
        live = ApiKey.objects.filter(tenant=OuterRef("pk"), revoked_at=None).order_by().values("tenant")
        return with_spend(super().get_queryset(request).select_related("tier")).annotate(
            key_count=Coalesce(Subquery(live.annotate(count=Count("pk")).values("count")), 0)
        )

    def get_fieldsets(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        """A new tenant has no spend and no dates yet; who may only look has nothing to explain."""
        sections = super().get_fieldsets(request, obj)
        if obj:
            return sections if self.has_change_permission(request, obj) else sections[:-1]
        first = (None, {"fields": (("name", "slug"), ("tier", "status"))})
        return (first, *sections[1:-2])

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        """A slug is part of what tenants and exports refer to, so it stays."""
        return (
            (*super().get_readonly_fields(request, obj), "slug")
            if obj
            else super().get_readonly_fields(request, obj)
        )

    def get_prepopulated_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        return {} if obj else super().get_prepopulated_fields(request, obj)

    def has_issue_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("tenants.add_apikey")

    def has_ledger_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("billing.view_usagerecord")

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        """Never here: the control API marks a tenant deleted and revokes its keys."""
        return False

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        tenant = Tenant.objects.filter(pk=object_id).first() if object_id.isdigit() else None
        if tenant and request.method == "GET" and request.user.has_perm("billing.view_dailyusage"):
            ledger = request.user.has_perm("billing.view_usagerecord")
            kwargs["extra_context"] = {"insight": insight(tenant, ledger=ledger)}
        return super().change_view(request, object_id, *args, **kwargs)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if "models" not in form.cleaned_data:
            return
        tenant, wanted = form.instance, set(form.cleaned_data["models"])
        allowed = {allowance.model: allowance for allowance in tenant.allowances.select_related("model")}
        for model, allowance in allowed.items():
            if model not in wanted:
                allowance.delete()
        for model in wanted - set(allowed):
            AllowedModel.objects.create(tenant=tenant, model=model)

    @display(description="Allowed models")
    def models(self, tenant: Tenant) -> str:
        """For those who may only look."""
        return ", ".join(model.name for model in tenant.allowed_models.all()) or "none"

    @display(description="Tenant", header=True, ordering="slug")
    def heading(self, tenant: Tenant) -> list[str]:
        return [tenant.name, tenant.slug]

    @display(description="Status", ordering="status", label={"Active": "success", "Suspended": "danger"})
    def shown_status(self, tenant: Tenant) -> str:
        return tenant.get_status_display()

    @display(description="Spend this period", ordering="spent_usd")
    def spend(self, tenant: "SpendingTenant") -> SafeString:
        return cells.budget_bar(spent=tenant.spent_usd, budget=tenant.budget_usd)

    @display(description="Requests", ordering="period_requests")
    def requests(self, tenant: "SpendingTenant") -> str:
        return cells.count(tenant.period_requests)

    @display(description="Budget", ordering="budget_mode")
    def mode(self, tenant: Tenant) -> str:
        return tenant.budget_mode.capitalize()

    @display(description="Since", ordering="created_at")
    def created(self, tenant: Tenant) -> str:
        return f"{tenant.created_at:%Y-%m-%d}"

    @display(description="Live keys", ordering="key_count")
    def live_keys(self, tenant: Any) -> SafeString:
        url = reverse("admin:tenants_apikey_changelist")
        return format_html('<a href="{}?tenant__id__exact={}">{}</a>', url, tenant.pk, tenant.key_count)

    @action(description="Suspend", permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        self._set_status(request, queryset, TenantStatus.SUSPENDED)

    @action(description="Resume", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        self._set_status(request, queryset, TenantStatus.ACTIVE)

    def _set_status(self, request: HttpRequest, queryset: QuerySet[Tenant], status: TenantStatus) -> None:
        """One by one and saved, so that each is in the audit trail and its policy is renewed."""
        changed = list(Tenant.objects.filter(pk__in=queryset.values("pk")).exclude(status=status))
        for tenant in changed:
            tenant.status = status
            tenant.save(update_fields=["status", "updated_at"])
        messages.success(
            request, f"{len(changed)} tenants are {status.label.lower()} now, from their next request on."
        )

    @action(description="Issue key", icon="key", url_path="issue-key", permissions=["issue"])
    def issue_key(self, request: HttpRequest, object_id: int) -> Any:
        return _go("admin:tenants_apikey_add", query=f"tenant={object_id}")

    @action(description="Ledger", icon="receipt_long", url_path="ledger", permissions=["ledger"])
    def ledger_of(self, request: HttpRequest, object_id: int) -> Any:
        return _go("admin:billing_usagerecord_changelist", query=f"tenant__id__exact={object_id}")


def _go(name: str, *, query: str) -> Any:
    return redirect(f"{reverse(name)}?{query}")
