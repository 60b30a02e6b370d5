"""The people of a tenant's portal: its members, and those invited."""

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from gateway_project.outgoing_email import EmailNotSent, can_send
from gateway_project.portal.access import member, page
from tenants.models import Invitation, Membership, Role
from tenants.models.invitation import LONGEST_ADDRESS
from tenants.people.email_limits import TooManyEmails
from tenants.people.invitations import invite, renew, send_link, withdraw
from tenants.people.members import LastOwner, remove_member


class InviteForm(forms.Form):
    email = forms.EmailField(max_length=LONGEST_ADDRESS)
    role = forms.ChoiceField(choices=Role.choices)


def home(request: HttpRequest) -> HttpResponse:
    """Go to one's only tenant, or show a choice."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path(), reverse("portal:login"))
    memberships = list(
        Membership.objects.select_related("tenant").filter(user=request.user, tenant__deleted_at=None)
    )
    if len(memberships) == 1 and "choose" not in request.GET:
        return redirect("portal:overview", memberships[0].tenant.slug)
    return render(request, "portal/home.html", {"memberships": memberships, "title": "Your organisations"})


@require_http_methods(["GET", "POST"])
@member()
def people(request: HttpRequest, membership: Membership) -> HttpResponse:
    tenant = membership.tenant
    form = InviteForm(request.POST or None)
    if request.method == "POST" and membership.role != Role.OWNER:
        raise PermissionDenied
    if form.is_valid():
        by = request.user if isinstance(request.user, User) else None
        try:
            invitation, token = invite(tenant=tenant, invited_by=by, **form.cleaned_data)
        except TooManyEmails as error:
            form.add_error(None, str(error))
        else:
            _send(request, invitation, token)
            return redirect("portal:people", tenant.slug)
    return page(
        request,
        membership,
        "people",
        "People",
        form=form,
        members=Membership.objects.filter(tenant=tenant).select_related("user"),
        invitations=Invitation.objects.filter(tenant=tenant, accepted_at=None).select_related("invited_by"),
        can_send=can_send(),
    )


@require_POST
@member(Role.OWNER)
def remove(request: HttpRequest, membership: Membership, membership_id: int) -> HttpResponse:
    other = get_object_or_404(
        Membership.objects.select_related("tenant", "user"), pk=membership_id, tenant=membership.tenant
    )
    try:
        remove_member(other)
    except LastOwner as error:
        messages.error(request, str(error))
    else:
        messages.success(
            request, f"{other.user} has been removed, and their invitations have been withdrawn."
        )
    return redirect("portal:people", membership.tenant.slug)


@require_POST
@member(Role.OWNER)
def resend(request: HttpRequest, membership: Membership, invitation_id: int) -> HttpResponse:
    """Mail a new link, which replaces the old one."""
    invitation = _invitation(membership, invitation_id)
    try:
        token = renew(invitation)
    except TooManyEmails as error:
        messages.error(request, str(error))
    else:
        if token is None:
            messages.error(request, "That invitation has already been accepted or withdrawn.")
        else:
            invitation.refresh_from_db()
            _send(request, invitation, token)
    return redirect("portal:people", membership.tenant.slug)


@require_POST
@member(Role.OWNER)
def withdraw_invitation(request: HttpRequest, membership: Membership, invitation_id: int) -> HttpResponse:
    invitation = _invitation(membership, invitation_id)
    if withdraw(invitation):
        messages.success(
            request, f"The invitation for {invitation.email} has been withdrawn. Its link no longer works."
        )
    else:
        messages.error(request, "That invitation has already been accepted or withdrawn.")
    return redirect("portal:people", membership.tenant.slug)


def _invitation(membership: Membership, invitation_id: int) -> Invitation:
    rows = Invitation.objects.select_related("tenant").filter(accepted_at=None)
    return get_object_or_404(rows, pk=invitation_id, tenant=membership.tenant)


def _send(request: HttpRequest, invitation: Invitation, token: str) -> None:
    """Mail the link to its address. If that is not possible, the operator has to hand it over, not a customer."""
    if not can_send():
        messages.warning(
            request,
            f"{invitation.email} has been invited. This installation does not send email: "
            "ask your provider for the link.",
        )
        return
    try:
        send_link(invitation, token)
    except EmailNotSent as error:
        messages.error(
            request, f"{invitation.email} has been invited, but the email was not sent: {error}. Resend it."
        )
    else:
        messages.success(request, f"We've emailed an invitation to {invitation.email}.")
