"""The console's pages for tenants: their settings, limits and spend."""

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter, RelatedDropdownFilter
from unfold.decorators import action, display
from unfold.views import ChangeList

from gateway_project.console_kit import formatters
from gateway_project.console_kit.list_filters import chosen
from gateway_project.console_kit.pages import ConsolePage
from tenants.activity import TenantActivity, activity
from tenants.admin.tenant_actions import TenantActions
from tenants.admin.tenant_form import TenantForm
from tenants.admin.tenant_inlines import KeyInline, MembershipInline
from tenants.admin.tenant_insight import insight
from tenants.admin.tenant_steps import first_call, next_steps, with_steps
from tenants.budget_mode import mode_changed
from tenants.models import AllowedModel, ApiKey, Tenant, TenantStatus
from tenants.spend import forecast, near_budget, with_spend

if TYPE_CHECKING:
    from tenants.spend import SpendingTenant


NO_MODELS = "No models"


class NearBudgetFilter(DropdownFilter):
    title = "budget"
    parameter_name = "budget"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("80", "80% spent or more"), ("100", "used up")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        percent = chosen(request, self)
        return near_budget(queryset, percent=int(percent)) if percent else queryset


class DeletedFilter(DropdownFilter):
    title = "deleted"
    parameter_name = "deleted"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Deleted")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(deleted_at__isnull=chosen(request, self) != "yes")


class LiveList(ChangeList):
    """Tenants with their current activity, read at once for the whole page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        shown: list[Any] = list(self.result_list)  # type: ignore[has-type]  # unfold has no types
        found = activity(shown)
        for tenant in shown:
            tenant.live = found.get(tenant.pk)
        self.result_list = shown


@admin.register(Tenant)
class TenantAdmin(TenantActions, ConsolePage):
    empty_text = "A tenant is a customer with its own keys, limits and budget."
    form = TenantForm
    list_display = (
        "heading",
        "tier",
        "shown_status",
        "spend",
        "requests",
        "per_minute",
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
    autocomplete_fields = ("tier", "default_model", "shadow_tier")
    readonly_fields = ("created_at", "updated_at", "deleted_at")
    prepopulated_fields = {"slug": ("name",)}
    actions = ("suspend", "resume", "raise_budget", "export_usage")
    actions_detail = ("issue_key", "invite", "ledger_of")
    inlines = (KeyInline, MembershipInline)
    change_form_outer_before_template = "admin/tenant_insight.html"
    change_form_outer_after_template = "admin/tenant_calls.html"
    fieldsets = (
        (None, {"fields": (("name", "slug"), ("tier", "status"))}),
        ("Models", {"fields": ("models", "default_model")}),
        (
            "Limits",
            {
                "description": "Leave a limit empty to use the tier's.",
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
                    ("user_monthly_budget_usd", "margin_percent"),
                    ("downgrade_percent", "downgrade_release_percent"),
                    "alert_percents",
                    ("billing_day", "timezone"),
                )
            },
        ),
        ("Behaviour", {"fields": (("disconnect_policy", "alert_emails"), "shadow_tier", "note")}),
        ("Dates", {"fields": (("created_at", "updated_at", "deleted_at"),)}),
        ("This change", {"fields": (("reason", "confirmed"),)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # A subquery, not a join: the page's COUNT(*) then leaves it out.
        live_keys = ApiKey.objects.filter(tenant=OuterRef("pk"), revoked_at=None).order_by().values("tenant")
        usable = AllowedModel.objects.filter(tenant=OuterRef("pk"), model__enabled=True)
        return with_spend(super().get_queryset(request).select_related("tier")).annotate(
            key_count=Coalesce(Subquery(live_keys.annotate(count=Count("pk")).values("count")), 0),
            has_models=Exists(usable),
        )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LiveList

    def get_inlines(self, request: HttpRequest, obj: Tenant | None) -> Any:
        """Keys and people are shown once the tenant exists."""
        return self.inlines if obj else ()

    def get_fieldsets(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        """Without dates for a new tenant, and without the reason for a change for people who may only view."""
        sections = super().get_fieldsets(request, obj)
        if obj:
            return sections if self.has_change_permission(request, obj) else sections[:-1]
        return sections[:-2]

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        """The slug is fixed: tenants and exports refer to it."""
        return (
            (*super().get_readonly_fields(request, obj), "slug")
            if obj
            else super().get_readonly_fields(request, obj)
        )

    def get_prepopulated_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        return {} if obj else super().get_prepopulated_fields(request, obj)

    def has_issue_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("tenants.add_apikey")

    def has_invite_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("tenants.add_invitation")

    def has_ledger_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("billing.view_usagerecord")

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        """Never here: the control API marks tenants as deleted and revokes their keys."""
        return False

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        tenants = with_steps(self.get_queryset(request))
        readable = object_id.isdecimal() and len(object_id) < 19
        tenant = tenants.filter(pk=object_id).first() if readable else None
        if tenant and request.method == "GET":
            kwargs["extra_context"] = {
                "refuses_all": tenant.deleted_at is None and not tenant.has_models,
                "next_steps": next_steps(tenant, request),
                "first_call": first_call(tenant, settings.PUBLIC_URL),
                "insight": self._insight(request, tenant),
            }
        return super().change_view(request, object_id, *args, **kwargs)

    def _insight(self, request: HttpRequest, tenant: Any) -> dict[str, Any] | None:
        if not request.user.has_perm("billing.view_dailyusage"):
            return None
        return insight(
            tenant,
            ledger=request.user.has_perm("billing.view_usagerecord"),
            webhooks=request.user.has_perm("billing.view_webhookendpoint"),
        )

    def response_add(self, request: HttpRequest, obj: Tenant, post_url_continue: str | None = None) -> Any:
        """Go on to the tenant's page, which says what is left to do."""
        if "_addanother" in request.POST or "_popup" in request.POST:
            return super().response_add(request, obj, post_url_continue)
        messages.success(request, f"{obj.name} was added.")
        return redirect("admin:tenants_tenant_change", obj.pk)

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change:
            mode_changed(obj)

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
        """The models as text, for people who may only view."""
        return ", ".join(model.name for model in tenant.allowed_models.all()) or "none"

    @display(description="Tenant", header=True, ordering="slug")
    def heading(self, tenant: Tenant) -> list[str]:
        return [tenant.name, tenant.slug]

    @display(
        description="Status",
        ordering="status",
        label={"Active": "success", "Suspended": "danger", NO_MODELS: "warning"},
    )
    def shown_status(self, tenant: Any) -> str:
        refuses_all = tenant.status == TenantStatus.ACTIVE and not tenant.has_models
        return NO_MODELS if refuses_all else str(tenant.get_status_display())

    @display(description="Spend this period", ordering="spent_usd")
    def spend(self, tenant: "SpendingTenant") -> SafeString:
        expected = forecast(tenant, spent=tenant.spent_usd, period=tenant.period)
        return formatters.budget_bar(spent=tenant.spent_usd, budget=tenant.budget_usd, forecast=expected)

    @display(description="Requests", ordering="period_requests")
    def requests(self, tenant: "SpendingTenant") -> str:
        return formatters.count(tenant.period_requests)

    @display(description="Now")
    def per_minute(self, tenant: Any) -> str:
        """Set by the list for the rows of its page."""
        found: TenantActivity | None = tenant.live
        return f"{formatters.count(found.requests_minute)}/min" if found else formatters.NOTHING

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

    @action(description="Create key", icon="key", url_path="issue-key", permissions=["issue"])
    def issue_key(self, request: HttpRequest, object_id: int) -> Any:
        return _go("admin:tenants_apikey_add", query=f"tenant={object_id}")

    @action(description="Invite", icon="mail", url_path="invite", permissions=["invite"])
    def invite(self, request: HttpRequest, object_id: int) -> Any:
        return _go("admin:tenants_invitation_add", query=f"tenant={object_id}")

    @action(description="Ledger", icon="receipt_long", url_path="ledger", permissions=["ledger"])
    def ledger_of(self, request: HttpRequest, object_id: int) -> Any:
        return _go("admin:billing_usagerecord_changelist", query=f"tenant__id__exact={object_id}")


def _go(name: str, *, query: str) -> Any:
    return redirect(f"{reverse(name)}?{query}")
