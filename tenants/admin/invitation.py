"""The console's pages for invitations to tenants' portals."""

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import action, display

from gateway_project.console_kit.pages import InsertOnlyPage, staff_of
from gateway_project.outgoing_email import EmailNotSent, can_send
from tenants.models import Invitation, Role
from tenants.people.invitations import invite, link_of, renew, send_link, withdraw


@admin.register(Invitation)
class InvitationAdmin(InsertOnlyPage):
    """Invitations are sent from here or by the tenant's owners, and accepted in the portal."""

    empty_text = "Invite the first owner of a tenant; owners invite the others."
    list_display = (
        "email",
        "tenant",
        "short_role",
        "state",
        "author",
        "created_at",
        "emailed_at",
        "expires_at",
    )
    list_filter = (("tenant", AutocompleteSelectFilter), ("role", ChoicesDropdownFilter))
    list_select_related = ("tenant", "invited_by")
    search_fields = ("email", "tenant__slug")
    autocomplete_fields = ("tenant",)
    fields = (
        ("tenant", "role"),
        ("email", "author"),
        ("created_at", "emailed_at"),
        ("expires_at", "accepted_at"),
    )
    readonly_fields = ("author", "created_at", "emailed_at", "expires_at", "accepted_at")
    actions_detail = ("new_link", "withdraw")

    def get_fields(self, request: HttpRequest, obj: Invitation | None = None) -> Any:
        return self.fields if obj else (("tenant", "role"), "email")

    def get_readonly_fields(self, request: HttpRequest, obj: Invitation | None = None) -> Any:
        return self.readonly_fields if obj else ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """The first person invited is an owner by default, who invites the others."""
        return {"role": Role.OWNER, **super().get_changeform_initial_data(request)}

    def has_invite_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return self.has_add_permission(request)

    def save_model(self, request: HttpRequest, obj: Invitation, form: Any, change: bool) -> None:
        made, token = invite(tenant=obj.tenant, email=obj.email, role=obj.role, invited_by=staff_of(request))
        obj.__dict__.update(made.__dict__)
        request.invitation_token = token  # type: ignore[attr-defined]  # for `response_add`

    def response_add(
        self, request: HttpRequest, obj: Invitation, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._deliver(request, obj, request.invitation_token)  # type: ignore[attr-defined]

    @action(description="New link", icon="autorenew", url_path="new-link", permissions=["invite"])
    def new_link(self, request: HttpRequest, object_id: int) -> HttpResponse:
        invitation = get_object_or_404(Invitation.objects.select_related("tenant"), pk=object_id)
        if request.method != "POST":
            how = (
                f"The new link is emailed to {invitation.email}."
                if can_send()
                else "The new link is shown once for you to pass on."
            )
            return self._confirm(request, invitation, "New link", f"The old link stops working. {how}")
        token = renew(invitation, limited=False)
        if token is None:
            return self._too_late(request)
        invitation.refresh_from_db()
        return self._deliver(request, invitation, token)

    @action(description="Withdraw", icon="block", url_path="withdraw", permissions=["invite"])
    def withdraw(self, request: HttpRequest, object_id: int) -> HttpResponse:
        invitation = get_object_or_404(Invitation.objects.select_related("tenant"), pk=object_id)
        if request.method != "POST":
            return self._confirm(request, invitation, "Withdraw", "Its link stops working immediately.")
        if not withdraw(invitation):
            return self._too_late(request)
        messages.success(request, f"The invitation for {invitation.email} has been withdrawn.")
        return self._list()

    def _deliver(self, request: HttpRequest, invitation: Invitation, token: str) -> HttpResponse:
        """Email the link to its address alone; without a mail server, show it once on a page."""
        if not can_send():
            context = {**self.admin_site.each_context(request), "opts": self.opts, "invitation": invitation}
            context |= {"title": "Invited", "link": link_of(token)}
            return TemplateResponse(
                request, "admin/invited.html", context, headers={"Cache-Control": "no-store"}
            )
        # The admin's transaction includes the response: it must not wait for a mail server, and nothing uncommitted
        # may be mailed.
        transaction.on_commit(partial(self._send, request, invitation, token))
        return self._list()

    def _send(self, request: HttpRequest, invitation: Invitation, token: str) -> None:
        try:
            send_link(invitation, token)
        except EmailNotSent as error:
            messages.error(
                request, f"{invitation.email} has been invited, but the email was not sent: {error}."
            )
        else:
            messages.success(request, f"We've emailed an invitation to {invitation.email}.")

    def _confirm(self, request: HttpRequest, invitation: Invitation, verb: str, text: str) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "subject": invitation}
        context |= {"title": verb, "verb": verb, "text": text}
        context["back"] = reverse("admin:tenants_invitation_change", args=[invitation.pk])
        return TemplateResponse(request, "admin/confirm.html", context)

    def _too_late(self, request: HttpRequest) -> HttpResponse:
        messages.error(request, "That invitation has already been accepted or withdrawn.")
        return self._list()

    def _list(self) -> HttpResponse:
        return redirect("admin:tenants_invitation_changelist")

    @display(
        description="State",
        label={"open": "info", "accepted": "success", "expired": "warning", "not sent": "danger"},
    )
    def state(self, invitation: Invitation) -> str:
        if invitation.accepted_at is not None:
            return "accepted"
        if invitation.is_expired:
            return "expired"
        return "not sent" if invitation.emailed_at is None and can_send() else "open"

    @display(description="Role", ordering="role")
    def short_role(self, invitation: Invitation) -> str:
        return invitation.role.capitalize()

    @display(description="Invited by")
    def author(self, invitation: Invitation) -> str:
        return str(invitation.invited_by or "Operator")
