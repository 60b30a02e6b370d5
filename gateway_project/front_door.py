"""`/`: on to where a person belongs, or the choice of where to sign in."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_safe


@never_cache
@require_safe
def front_door(request: HttpRequest) -> HttpResponse:
    """Staff go to the console, everybody else who is signed in to the portal. Some clients ask `HEAD /` first."""
    user = request.user
    if user.is_authenticated:
        return redirect("admin:index" if user.is_staff else "portal:home")
    return render(request, "front_door.html", {"title": "Log in"})


@cache_control(max_age=86_400)
@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """For those who ask at the old place without having read a page."""
    return redirect(static("favicon.svg"))
