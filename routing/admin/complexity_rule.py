"""What makes a request complex."""

from django.contrib import admin
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from gateway_project.console.pages import ConsolePage
from routing.models import ComplexityRule


@admin.register(ComplexityRule)
class ComplexityRuleAdmin(ConsolePage):
    list_display = ("subject", "kind", "value", "enabled")
    list_filter = (("kind", ChoicesDropdownFilter), "enabled")
    search_fields = ("subject",)
    fields = ("kind", "subject", "value", "enabled")
