"""A tenant's keys and people, on its page."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from gateway_project.console_kit import formatters
from gateway_project.console_kit.pages import ReadOnlyInline
from tenants.admin.api_key import STATE_COLOURS
from tenants.models import ApiKey, Membership, Tenant


class KeyInline(ReadOnlyInline):
    model = ApiKey
    fields = ("name", "prefix", "key_state", "budget", "expires", "used", "turn")
    readonly_fields = ("prefix", "key_state", "budget", "expires", "used", "turn")
    ordering = ("-created_at",)
    verbose_name_plural = "API keys"
    tab = True
    per_page = 20
    template_after = "admin/tenant_keys.html"

    def get_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        return self.fields if request.user.has_perm("tenants.change_apikey") else self.fields[:-1]

    @display(description="State", label=STATE_COLOURS)
    def key_state(self, key: ApiKey) -> str:
        return key.state

    @display(description="Monthly budget")
    def budget(self, key: ApiKey) -> str:
        return formatters.usd(key.monthly_budget_usd)

    @display(description="Expires")
    def expires(self, key: ApiKey) -> str:
        return formatters.ago(key.expires_at)

    @display(description="Last used")
    def used(self, key: ApiKey) -> str:
        return formatters.ago(key.last_used_at)

    @display(description="Actions")
    def turn(self, key: ApiKey) -> SafeString | str:
        if key.state != "live":
            return formatters.NOTHING
        does = ("rotate", "revoke") if key.replaced_by_id is None else ("revoke",)
        return format_html_join(
            " ",
            '<a class="c-do" href="{}">{}</a>',
            ((reverse(f"admin:tenants_apikey_{each}", args=[key.pk]), each.capitalize()) for each in does),
        )


class MembershipInline(ReadOnlyInline):
    model = Membership
    fields = ("user", "role", "created_at")
    readonly_fields = ("created_at",)
    autocomplete_fields = ("user",)
    verbose_name_plural = "portal members"
    tab = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("user", "tenant")
