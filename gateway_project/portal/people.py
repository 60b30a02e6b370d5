"""Logging in, joining by an invitation, and who else may."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, password_validation
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from gateway_project.portal.access import member, page
from tenants.invitations import accept, invite, open_invitation, send_invitation
from tenants.models import Invitation, Membership, Role


class InviteForm(forms.Form):
    email = forms.EmailField()
    role = forms.ChoiceField(choices=Role.choices)


class JoinForm(forms.Form):
    password = forms.CharField(widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}))

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        password_validation.validate_password(password)
        return password


def home(request: HttpRequest) -> HttpResponse:
    """The only tenant one belongs to, or a choice."""
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
    if request.method == "POST":
        if membership.role != Role.OWNER:
            raise PermissionDenied
        if form.is_valid():
            by = request.user if isinstance(request.user, User) else None
            token = invite(tenant=tenant, invited_by=by, **form.cleaned_data)
            link = request.build_absolute_uri(reverse("portal:join", args=[token]))
            send_invitation(email=form.cleaned_data["email"], tenant=tenant, link=link)
            return page(
                request, membership, "invited", "Invited", under="people", link=link, **form.cleaned_data
            )
    return page(
        request,
        membership,
        "people",
        "People",
        form=form,
        members=Membership.objects.filter(tenant=tenant).select_related("user"),
        invitations=Invitation.objects.filter(tenant=tenant, accepted_at=None),
    )


@require_POST
@member(Role.OWNER)
def remove(request: HttpRequest, membership: Membership, membership_id: int) -> HttpResponse:
    """A tenant keeps at least one owner."""
    other = get_object_or_404(Membership, pk=membership_id, tenant=membership.tenant)
    with transaction.atomic():
        owners = Membership.objects.select_for_update().filter(tenant=membership.tenant, role=Role.OWNER)
        if [owner.pk for owner in owners] == [other.pk]:
            messages.error(request, "The last owner stays; make someone else owner first.")
            return redirect("portal:people", membership.tenant.slug)
        other.delete()
    messages.success(request, f"{other.user} has left.")
    return redirect("portal:people", membership.tenant.slug)


@require_http_methods(["GET", "POST"])
def join(request: HttpRequest, token: str) -> HttpResponse:
    """By the link of an invitation. Who has an account by this address logs in with it first."""
    invitation = open_invitation(token)
    if invitation is None:
        raise Http404
    context: dict[str, Any] = {"invitation": invitation, "title": f"Join {invitation.tenant.name}"}
    if request.user.is_authenticated:
        if request.method == "POST":
            return _joined(request, token, request.user)
        return render(request, "portal/join.html", context)
    if User.objects.filter(username__iexact=invitation.email).exists():
        return redirect_to_login(request.get_full_path(), reverse("portal:login"))
    form = JoinForm(request.POST or None)
    if form.is_valid():
        user = User.objects.create_user(
            username=invitation.email, email=invitation.email, password=form.cleaned_data["password"]
        )
        login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
        return _joined(request, token, user)
    return render(request, "portal/join.html", {**context, "form": form})


def _joined(request: HttpRequest, token: str, user: User) -> HttpResponse:
    membership = accept(token=token, user=user)
    if membership is None:
        raise Http404
    return redirect("portal:overview", membership.tenant.slug)
