"""Try the complexity rules on a request: with the rules in force, and with those in shadow as well."""

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget

from routing.choice import Ask, ComplexityRules
from routing.complexity import complexity_of, why_complex
from routing.rules import current_rules


class TrialForm(forms.Form):
    text_bytes = forms.IntegerField(
        min_value=0, initial=1000, widget=UnfoldAdminIntegerFieldWidget, label="Bytes of text"
    )
    messages = forms.IntegerField(min_value=1, initial=1, widget=UnfoldAdminIntegerFieldWidget)
    tools = forms.IntegerField(min_value=0, initial=0, widget=UnfoldAdminIntegerFieldWidget)
    system = forms.CharField(
        required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), label="System prompt"
    )

    def ask(self) -> Ask:
        given = self.cleaned_data
        return Ask(
            model=None,
            max_tokens=0,
            min_output_tokens=0,
            stream=False,
            input_bound_tokens=0,
            text_bytes=given["text_bytes"],
            message_count=given["messages"],
            tool_count=given["tools"],
            system_text=given["system"],
        )


def trial_page(page: admin.ModelAdmin, request: HttpRequest) -> HttpResponse:
    """A form and, once it is submitted, the verdicts."""
    if not page.has_view_permission(request):
        raise PermissionDenied
    form = TrialForm(request.GET or None)
    verdicts = []
    if form.is_valid():
        in_force, with_shadow = current_rules()
        verdicts.append(_verdict("Active rules", form.ask(), in_force))
        if with_shadow is not None:
            verdicts.append(_verdict("With shadow rules", form.ask(), with_shadow))
    context = {
        **page.admin_site.each_context(request),
        "opts": page.opts,
        "title": "Try the complexity rules",
    }
    return TemplateResponse(request, "admin/rule_trial.html", {**context, "form": form, "verdicts": verdicts})


def _verdict(title: str, ask: Ask, rules: ComplexityRules) -> tuple[str, str, str]:
    return title, complexity_of(ask, rules).value, why_complex(ask, rules) or "no threshold is exceeded"
