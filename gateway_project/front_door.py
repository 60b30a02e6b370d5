"""`/`: redirects people to where they belong, or shows where to sign in."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_safe


@never_cache
@require_safe
def front_door(request: HttpRequest) -> HttpResponse:
    """Redirect staff to the console and other signed-in people to the portal. Some clients send `HEAD /` first."""
    user = request.user
    if user.is_authenticated:
        return redirect("admin:index" if user.is_staff else "portal:home")
    return render(request, "front_door.html", {"title": "Log in"})


@cache_control(max_age=86_400)
@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """The icon at its traditional path, for clients that have not read a page."""
    return redirect(static("favicon.svg"))
