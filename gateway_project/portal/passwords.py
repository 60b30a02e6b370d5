"""Changing a password, and choosing a new one by a link that is mailed."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import views as auth
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse_lazy

TEMPLATE = "portal/form.html"


class Change(auth.PasswordChangeView):
    template_name = TEMPLATE
    success_url = reverse_lazy("portal:home")
    extra_context = {"title": "Change your password", "verb": "Change"}

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, "Your password is changed.")
        return super().form_valid(form)


class Forgotten(auth.PasswordResetView):
    """Says the same whether the address is known or not."""

    template_name = TEMPLATE
    email_template_name = "portal/password_letter.txt"
    subject_template_name = "portal/password_subject.txt"
    success_url = reverse_lazy("portal:password-sent")
    extra_context = {
        "title": "Forgot your password?",
        "text": "A link to choose a new one is sent to your address.",
        "verb": "Send the link",
    }


def sent(request: HttpRequest) -> HttpResponse:
    text = "If there is an account with this address, a letter with a link is on its way."
    return render(request, TEMPLATE, {"title": "Look into your mail", "text": text})


class Choose(auth.PasswordResetConfirmView):
    template_name = TEMPLATE
    success_url = reverse_lazy("portal:login")
    extra_context = {"verb": "Save and log in"}

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, "Your new password works now.")
        return super().form_valid(form)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        text = "" if self.validlink else "This link was used, or its time is over. Ask for a new one."
        return {**super().get_context_data(**kwargs), "title": "Choose a new password", "text": text}
