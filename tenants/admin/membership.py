"""Who of a tenant's people may use the portal."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from gateway_project.console_kit.pages import ConsolePage, InsertOnlyPage, staff_of
from tenants.invitations import digest_of, invite, send_invitation
from tenants.models import Invitation, Membership, Role


@admin.register(Membership)
class MembershipAdmin(ConsolePage):
    list_display = ("user", "tenant", "role", "created_at")
    list_filter = (("tenant", AutocompleteSelectFilter), ("role", ChoicesDropdownFilter))
    list_select_related = ("user", "tenant")
    search_fields = ("user__username", "user__email", "tenant__slug")
    autocomplete_fields = ("user", "tenant")
    readonly_fields = ("created_at",)


@admin.register(Invitation)
class InvitationAdmin(InsertOnlyPage):
    """Sent from here or by the tenant's owners; accepted in the portal."""

    empty_text = "Invite the first owner of a tenant; owners invite the others."
    list_display = ("email", "tenant", "role", "invited_by", "created_at", "expires_at", "accepted_at")
    list_filter = (("tenant", AutocompleteSelectFilter), ("role", ChoicesDropdownFilter))
    list_select_related = ("tenant", "invited_by")
    search_fields = ("email", "tenant__slug")
    autocomplete_fields = ("tenant",)
    fields = (("tenant", "role"), "email", ("created_at", "expires_at", "accepted_at"))
    readonly_fields = ("created_at", "expires_at", "accepted_at")

    def get_fields(self, request: HttpRequest, obj: Invitation | None = None) -> Any:
        return self.fields if obj else self.fields[:2]

    def get_readonly_fields(self, request: HttpRequest, obj: Invitation | None = None) -> Any:
        return self.readonly_fields if obj else ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """The first one asked in is an owner, who asks in the others."""
        return {"role": Role.OWNER, **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: Invitation, form: Any, change: bool) -> None:
        token = invite(tenant=obj.tenant, email=obj.email, role=obj.role, invited_by=staff_of(request))
        obj.__dict__.update(Invitation.objects.get(digest=digest_of(token)).__dict__)
        link = request.build_absolute_uri(reverse("portal:join", args=[token]))
        send_invitation(email=obj.email, tenant=obj.tenant, link=link)
        request.invitation_link = link  # type: ignore[attr-defined]  # for the page that follows

    def response_add(
        self, request: HttpRequest, obj: Invitation, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The one page that ever shows the link, in case the letter gets lost."""
        context = {**self.admin_site.each_context(request), "opts": self.opts, "invitation": obj}
        context |= {"title": "Invited", "link": request.invitation_link}  # type: ignore[attr-defined]
        return TemplateResponse(request, "admin/invited.html", context, headers={"Cache-Control": "no-store"})
