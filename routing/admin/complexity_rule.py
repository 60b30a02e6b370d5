"""The rules that make a request complex."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action

from gateway_project.console_kit.pages import ConsolePage
from routing.admin.rule_trial import trial_page
from routing.models import ComplexityRule


@admin.register(ComplexityRule)
class ComplexityRuleAdmin(ConsolePage):
    list_display = ("subject", "kind", "value", "enabled", "shadow")
    list_filter = (("kind", ChoicesDropdownFilter), "enabled", "shadow")
    search_fields = ("subject",)
    fields = ("kind", "subject", "value", ("enabled", "shadow"))
    actions_list = ("trial",)

    @action(description="Try the rules", icon="rule", url_path="try", permissions=["view"])
    def trial(self, request: HttpRequest) -> HttpResponse:
        return trial_page(self, request)
