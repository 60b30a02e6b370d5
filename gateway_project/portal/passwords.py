"""Change a password, or choose a new one by a mailed link."""

import logging
from typing import Any

from django.contrib import messages
from django.contrib.auth import views as auth
from django.contrib.auth.forms import PasswordResetForm
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse_lazy
from django.views.generic import FormView
from kombu.exceptions import OperationalError

from gateway_project.outgoing_email import can_send
from tenants.people.email_limits import TooManyEmails
from tenants.people.passwords import count_request
from tenants.people.verified_emails import mark_verified
from tenants.tasks import mail_password_links

logger = logging.getLogger(__name__)

TEMPLATE = "portal/form.html"


class PasswordChange(auth.PasswordChangeView):
    template_name = TEMPLATE
    success_url = reverse_lazy("portal:home")
    extra_context = {"title": "Change your password", "verb": "PasswordChange"}

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, "Your password has been changed.")
        return super().form_valid(form)


class Forgotten(FormView):
    """Behaves the same whether or not the address is known: a worker looks up the accounts."""

    template_name = TEMPLATE
    form_class = PasswordResetForm
    success_url = reverse_lazy("portal:password-sent")
    extra_context = {
        "title": "Forgot your password?",
        "text": "We'll email you a link to choose a new one.",
        "verb": "Send the link",
    }

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if can_send():
            return super().dispatch(request, *args, **kwargs)
        text = "This installation does not send email. Ask your provider for a new password."
        return render(request, TEMPLATE, {"title": "Forgot your password?", "text": text})

    def form_valid(self, form: Any) -> HttpResponse:
        email: str = form.cleaned_data["email"]
        try:
            count_request(email=email, ip=self.request.META.get("REMOTE_ADDR", ""))
            mail_password_links.apply_async([email], expires=3600, retry=False)
        except TooManyEmails as error:
            return self._refused(form, str(error), status=429)
        except OperationalError:
            logger.exception("a password link could not be handed to a worker")
            return self._refused(form, "The link could not be sent. Try again in a few minutes.", status=503)
        return super().form_valid(form)

    def _refused(self, form: Any, why: str, *, status: int) -> HttpResponse:
        form.add_error(None, why)
        return self.render_to_response(self.get_context_data(form=form), status=status)


def sent(request: HttpRequest) -> HttpResponse:
    text = "If there is an account with this address, we've emailed it a link."
    return render(request, TEMPLATE, {"title": "Check your email", "text": text})


class Choose(auth.PasswordResetConfirmView):
    """Choose a new password by a link, which does not work for an account that was deactivated meanwhile."""

    template_name = TEMPLATE
    success_url = reverse_lazy("portal:login")
    extra_context = {"verb": "Save and log in"}

    def get_user(self, uidb64: str) -> Any:
        user = super().get_user(uidb64)
        return user if user is not None and user.is_active else None

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, "Your password has been changed.")
        answer = super().form_valid(form)
        mark_verified(form.user, form.user.email)  # the link was mailed to this address
        return answer

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        text = "" if self.validlink else "This link has been used or has expired. Request a new one."
        return {**super().get_context_data(**kwargs), "title": "Choose a new password", "text": text}
