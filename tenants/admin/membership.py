"""Who of a tenant's people may use the portal."""

from django.contrib import admin
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from gateway_project.console.pages import ConsolePage, ReadOnlyPage
from tenants.models import Invitation, Membership


@admin.register(Membership)
class MembershipAdmin(ConsolePage):
    list_display = ("user", "tenant", "role", "created_at")
    list_filter = (("tenant", AutocompleteSelectFilter), ("role", ChoicesDropdownFilter))
    list_select_related = ("user", "tenant")
    search_fields = ("user__username", "user__email", "tenant__slug")
    autocomplete_fields = ("user", "tenant")
    readonly_fields = ("created_at",)


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyPage):
    """Shown only: they are sent, and accepted, in the portal."""

    list_display = ("email", "tenant", "role", "invited_by", "created_at", "expires_at", "accepted_at")
    list_filter = (("tenant", AutocompleteSelectFilter), ("role", ChoicesDropdownFilter))
    list_select_related = ("tenant", "invited_by")
    search_fields = ("email", "tenant__slug")
    exclude = ("digest",)
