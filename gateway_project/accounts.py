"""Logging in to console and portal: a second factor for who wants one, and a stop to guessing passwords."""

from base64 import b32encode
from datetime import timedelta
from typing import Any

import segno
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django_otp import match_token
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.forms import AuthenticationForm as ConsoleForm


def has_second_factor(user: User) -> bool:
    return TOTPDevice.objects.filter(user=user, confirmed=True).exists()


class _WithCode(AuthenticationForm):
    """The code is asked for after the password was right, so that nobody learns who has one."""

    code = forms.CharField(
        label="One-time code",
        required=False,
        max_length=6,
        help_text="Leave it empty if your account has no second factor.",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )

    def confirm_login_allowed(self, user: Any) -> None:
        super().confirm_login_allowed(user)
        code = self.data.get("code", "").strip().replace(" ", "")
        # `match_token` counts wrong codes and makes guessing slow.
        if has_second_factor(user) and (not code or match_token(user, code) is None):
            raise ValidationError(
                "Enter the one-time code your authenticator app shows now.", code="code_needed"
            )


class PortalLogin(_WithCode):
    """The portal's login form."""


class ConsoleLogin(_WithCode, ConsoleForm):  # type: ignore[misc]  # unfold has no types
    """The console's login form; staff only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"].widget.attrs["class"] = self.fields["username"].widget.attrs.get("class", "")


def address_of(request: HttpRequest) -> str | None:
    """As the server found it; axes would read X-Forwarded-For by itself where django-ipware happens to be there."""
    return request.META.get("REMOTE_ADDR")


def locked_out(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
    """What is answered after too many wrong passwords for one name from one address."""
    cooloff: timedelta = settings.AXES_COOLOFF_TIME
    seconds = int(cooloff.total_seconds())
    page = render(
        request, "locked_out.html", {"title": "Locked for a while", "minutes": seconds // 60}, status=429
    )
    page["Retry-After"] = str(seconds)
    return page


@never_cache
@login_required
def second_factor(request: HttpRequest) -> HttpResponse:
    """Set it up (scan, enter one code) or take it away (enter one code)."""
    user: Any = request.user
    device = TOTPDevice.objects.filter(user=user).order_by("-confirmed").first()
    if device is None:
        device = TOTPDevice.objects.create(user=user, name="Authenticator app", confirmed=False)
    if request.method == "POST":
        allowed, _ = device.verify_is_allowed()
        if not allowed or not device.verify_token(request.POST.get("code", "").strip().replace(" ", "")):
            messages.error(request, "That code is not the one the app shows now. Wait for the next one.")
        elif device.confirmed:
            device.delete()
            messages.success(request, "The second factor is gone. Your password alone logs you in.")
        else:
            device.confirmed = True
            device.save(update_fields=["confirmed"])
            messages.success(request, "Done. From now on logging in asks for a code as well.")
        return redirect("second-factor")
    picture = "" if device.confirmed else segno.make(device.config_url).svg_data_uri(scale=5, border=2)
    return render(
        request,
        "second_factor.html",
        {"title": "Second factor", "device": device, "picture": picture, "secret": _readable(device)},
    )


def _readable(device: TOTPDevice) -> str:
    """The secret as apps take it by hand: base32 in groups of four."""
    text = b32encode(device.bin_key).decode()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))
