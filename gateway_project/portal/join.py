"""Join a tenant by an invitation's link."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import login, password_validation
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from tenants.models import Invitation, Membership
from tenants.people.invitations import (
    AccountExists,
    accept,
    accept_as_new,
    accounts_of,
    is_for,
    open_invitation,
)


class JoinForm(forms.Form):
    password = forms.CharField(
        max_length=4096, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"})
    )

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        password_validation.validate_password(password)
        return password


@never_cache
@require_http_methods(["GET", "POST"])
def join(request: HttpRequest, token: str) -> HttpResponse:
    """Make an account for the invited address; an existing account has to log in instead."""
    invitation = open_invitation(token)
    if invitation is None:
        return _dead_link(request)
    if isinstance(request.user, User):
        return _join_as(request, token, invitation, request.user)
    if accounts_of(invitation.email).exists():
        return redirect_to_login(request.get_full_path(), reverse("portal:login"))
    form = JoinForm(request.POST or None)
    if not form.is_valid():
        return _page(request, invitation, form=form)
    try:
        membership = accept_as_new(token=token, password=form.cleaned_data["password"])
    except AccountExists:
        return redirect_to_login(request.get_full_path(), reverse("portal:login"))
    if membership is None:
        return _dead_link(request)
    login(request, membership.user, backend=settings.AUTHENTICATION_BACKENDS[0])
    return _entered(membership)


def _join_as(request: HttpRequest, token: str, invitation: Invitation, user: User) -> HttpResponse:
    """Join with the account that is logged in, if it is the invited one."""
    if not is_for(invitation, user):
        return _page(request, invitation, somebody_else=True, link=request.path)
    if request.method != "POST":
        return _page(request, invitation)
    membership = accept(token=token, user=user)
    return _dead_link(request) if membership is None else _entered(membership)


def _entered(membership: Membership) -> HttpResponse:
    return redirect("portal:overview", membership.tenant.slug)


def _page(request: HttpRequest, invitation: Invitation, **context: Any) -> HttpResponse:
    title = f"Join {invitation.tenant.name}"
    return render(request, "portal/join.html", {"invitation": invitation, "title": title, **context})


def _dead_link(request: HttpRequest) -> HttpResponse:
    text = "It has been used or withdrawn, or it has expired. Ask the person who invited you for a new one."
    return render(
        request, "portal/form.html", {"title": "This invitation is not valid", "text": text}, status=404
    )
