"""The console's page for the members of tenants' portals."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display

from gateway_project.console_kit.pages import ConsolePage
from tenants.models import Membership
from tenants.people.members import remove_member, set_role
from tenants.people.verified_emails import has_verified_email


@admin.register(Membership)
class MembershipAdmin(ConsolePage):
    list_display = ("user", "verified", "tenant", "role", "created_at")
    list_filter = (("tenant", AutocompleteSelectFilter), ("role", ChoicesDropdownFilter))
    list_select_related = ("user", "tenant")
    search_fields = ("user__username", "user__email", "tenant__slug")
    autocomplete_fields = ("user", "tenant")
    fields = (("user", "tenant"), "role", "created_at")
    readonly_fields = ("created_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).annotate(email_is_verified=has_verified_email("user__"))

    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> Any:
        """Person and tenant are fixed: for others, remove this membership, which also ends its invitations."""
        return (*self.readonly_fields, "user", "tenant") if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        if change:
            set_role(obj, obj.role)
            return
        super().save_model(request, obj, form, change)
        if not User.objects.filter(has_verified_email(), pk=obj.user_id).exists():
            messages.warning(
                request,
                f"{obj.user} has not verified this email address. If you chose the account by its "
                "address, remove it here and send an invitation instead.",
            )

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        remove_member(obj, keep_an_owner=False)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        for membership in queryset:
            remove_member(membership, keep_an_owner=False)

    @display(description="Email verified", boolean=True)
    def verified(self, membership: Any) -> bool:
        return bool(membership.email_is_verified)
