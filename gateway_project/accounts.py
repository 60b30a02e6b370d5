"""Log in to console and portal, with an optional second factor and a lockout against guessed passwords."""

from base64 import b32encode
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

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
from unfold.forms import AuthenticationForm as ConsoleForm

from tenants.models import SecondFactor
from tenants.people.second_factors import UncheckableCode, check, has_second_factor, set_up


class _WithCode(AuthenticationForm):
    """Asks for a code only after the right password, so that nobody learns which accounts have a second factor."""

    code = forms.CharField(
        label="One-time code",
        required=False,
        max_length=6,
        help_text="Leave this empty if you do not use two-factor authentication.",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )

    def confirm_login_allowed(self, user: Any) -> None:
        super().confirm_login_allowed(user)
        code = self.data.get("code", "").strip().replace(" ", "")
        if not has_second_factor(user):
            return
        try:
            right = bool(code) and check(user, code)  # `check` counts wrong codes and slows down guessing
        except UncheckableCode as error:
            raise ValidationError(str(error), code="code_uncheckable") from error
        if not right:
            raise ValidationError("Enter the current code from your authenticator app.", code="code_needed")


class PortalLogin(_WithCode):
    """The portal's login form."""


class ConsoleLogin(_WithCode, ConsoleForm):  # type: ignore[misc]  # unfold has no types
    """The console's login form; staff only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"].widget.attrs["class"] = self.fields["username"].widget.attrs.get("class", "")


def address_of(request: HttpRequest) -> str | None:
    """The address that the server found. Axes alone would read X-Forwarded-For if django-ipware is installed."""
    return request.META.get("REMOTE_ADDR")


def locked_out(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
    """The response after too many wrong passwords for one name from one address."""
    cooloff: timedelta = settings.AXES_COOLOFF_TIME
    seconds = int(cooloff.total_seconds())
    page = render(
        request, "locked_out.html", {"title": "Too many attempts", "minutes": seconds // 60}, status=429
    )
    page["Retry-After"] = str(seconds)
    return page


@never_cache
@login_required
def second_factor(request: HttpRequest) -> HttpResponse:
    """The page that sets up a second factor (scan, enter one code) or removes it (enter one code)."""
    user: Any = request.user
    device = set_up(user)
    if request.method == "POST":
        _submitted(request, device)
        return redirect("second-factor")
    context: dict[str, Any] = {"title": "Two-factor authentication", "device": device}
    if not device.confirmed:
        secret = b32encode(device.seed).decode()
        context |= {"picture": _picture(user, secret), "secret": _in_groups(secret)}
    return render(request, "second_factor.html", context)


def _submitted(request: HttpRequest, device: SecondFactor) -> None:
    """Use a submitted code: confirm a new second factor, or remove the existing one."""
    user: Any = request.user
    try:
        right = check(user, request.POST.get("code", "").strip().replace(" ", ""))
    except UncheckableCode as error:
        messages.error(request, str(error))
        return
    if not right:
        messages.error(request, "That code is not valid. Wait for the next code and try again.")
    elif device.confirmed:
        device.delete()
        messages.success(request, "Two-factor authentication is off. You now log in with your password only.")
    else:
        SecondFactor.objects.get(user=user).confirm()
        messages.success(
            request, "Two-factor authentication is on. You will be asked for a code each time you log in."
        )


def _picture(user: User, secret: str) -> str:
    """The QR code for an authenticator app (https://github.com/google/google-authenticator/wiki/Key-Uri-Format)."""
    issuer = settings.OTP_TOTP_ISSUER
    query = urlencode({"secret": secret, "issuer": issuer, "algorithm": "SHA1", "digits": 6, "period": 30})
    address = f"otpauth://totp/{quote(f'{issuer}: {user.get_username()}')}?{query}"
    return segno.make(address).svg_data_uri(scale=5, border=2)


def _in_groups(secret: str) -> str:
    """The secret in groups of characters, to be typed into an app."""
    return " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))
