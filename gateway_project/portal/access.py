"""Who may enter a tenant's portal. Every view goes through `member`, and gets only that tenant."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from tenants.models import Membership, Role
from tenants.policy import BudgetMode

# The menu: each page's route, its title, and the lowest role that may see it.
PAGES = (
    ("overview", "Overview", Role.VIEWER),
    ("usage", "Usage", Role.VIEWER),
    ("requests", "Requests", Role.VIEWER),
    ("limits", "Limits", Role.VIEWER),
    ("keys", "Keys", Role.DEVELOPER),
    ("webhooks", "Webhooks", Role.VIEWER),
    ("statements", "Statements", Role.VIEWER),
    ("balance", "Balance", Role.VIEWER),
    ("people", "People", Role.VIEWER),
    ("quickstart", "Quickstart", Role.VIEWER),
)
RANK = {Role.VIEWER: 0, Role.DEVELOPER: 1, Role.OWNER: 2}
View = Callable[..., HttpResponseBase]


def member(role: Role = Role.VIEWER) -> Callable[[View], View]:
    """A decorator for views: only members of the tenant in the URL with at least this role; a 404 for others."""

    def wrap(view: View) -> View:
        @wraps(view)
        def checked(request: HttpRequest, slug: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path(), reverse("portal:login"))
            membership = (
                Membership.objects.select_related("tenant__tier")
                .filter(user=request.user, tenant__slug=slug, tenant__deleted_at=None)
                .first()
            )
            if membership is None:
                raise Http404
            if not may(membership, role):
                raise PermissionDenied
            with timezone.override(membership.tenant.timezone):  # times are shown in the tenant's zone
                response = view(request, membership, *args, **kwargs)
            response["Cache-Control"] = "no-store"
            return response

        checked.needs_role = role  # type: ignore[attr-defined]  # read by tests
        return checked

    return wrap


def may(membership: Membership, role: Role) -> bool:
    return RANK[Role(membership.role)] >= RANK[role]


def page(
    request: HttpRequest,
    membership: Membership,
    template: str,
    title: str,
    *,
    under: str = "",
    **context: Any,
) -> HttpResponse:
    """A page of the portal within its frame. `under` is the menu entry to highlight for a page that has none."""
    tenant, here = membership.tenant, under or template
    return render(
        request,
        f"portal/{template}.html",
        {
            "title": title,
            "pages": [
                (reverse(f"portal:{name}", args=[tenant.slug]), said, name == here)
                for name, said, role in PAGES
                if may(membership, role) and (name != "balance" or tenant.budget_mode == BudgetMode.PREPAID)
            ],
            "tenant": tenant,
            "membership": membership,
            "develops": may(membership, Role.DEVELOPER),
            "owns": may(membership, Role.OWNER),
            **context,
        },
    )
