"""A tenant's keys, for its developers and owners. A new one is shown once."""

from datetime import timedelta

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST

from gateway_project.portal.access import member, page
from tenants.keys import issue_key, revoke_key, rotate_key
from tenants.models import ApiKey, Membership, Role

OVERLAP = timedelta(hours=24)


class IssueKeyForm(forms.Form):
    name = forms.CharField(
        max_length=100, help_text="Where the key is used, for example “web app, production”."
    )


@require_http_methods(["GET", "POST"])
@member(Role.DEVELOPER)
def keys(request: HttpRequest, membership: Membership) -> HttpResponse:
    form = IssueKeyForm(request.POST or None)
    if form.is_valid():
        issued = issue_key(
            tenant=membership.tenant, name=form.cleaned_data["name"], created_by=_user(request)
        )
        return page(request, membership, "key_issued", "New key", under="keys", issued=issued)
    rows = ApiKey.objects.filter(tenant=membership.tenant).order_by("-created_at")
    return page(request, membership, "keys", "Keys", keys=rows, form=form)


@require_POST
@member(Role.DEVELOPER)
def rotate(request: HttpRequest, membership: Membership, key_id: int) -> HttpResponse:
    """Make a new key; the old one still works for a day."""
    key = get_object_or_404(ApiKey, pk=key_id, tenant=membership.tenant)
    try:
        issued = rotate_key(api_key=key, overlap=OVERLAP, created_by=_user(request))
    except ValueError as error:
        messages.error(request, str(error))
        return redirect("portal:keys", membership.tenant.slug)
    return page(request, membership, "key_issued", "New key", under="keys", issued=issued, rotated=key)


@require_POST
@member(Role.DEVELOPER)
def revoke(request: HttpRequest, membership: Membership, key_id: int) -> HttpResponse:
    key = get_object_or_404(ApiKey, pk=key_id, tenant=membership.tenant)
    revoke_key(api_key=key)
    messages.success(request, f"{key.name} has been revoked. Requests with it are now refused.")
    return redirect("portal:keys", membership.tenant.slug)


def _user(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None
