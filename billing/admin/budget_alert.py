"""Budget alerts in the console."""

from django.contrib import admin
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display

from billing.models import BudgetAlert
from gateway_project.console_kit import formatters
from gateway_project.console_kit.list_filters import Moments
from gateway_project.console_kit.pages import ReadOnlyPage


@admin.register(BudgetAlert)
class BudgetAlertAdmin(ReadOnlyPage):
    empty_text = "Alerts are listed here when a tenant reaches one of its thresholds."
    list_display = ("crossed", "tenant", "kind", "scope", "subject", "reached", "spend", "period_start")
    list_filter = (
        ("tenant", AutocompleteSelectFilter),
        ("kind", ChoicesDropdownFilter),
        ("scope", ChoicesDropdownFilter),
        ("crossed_at", Moments),
    )
    list_select_related = ("tenant",)
    search_fields = ("tenant__slug", "subject")

    @display(description="Reached", ordering="crossed_at")
    def crossed(self, alert: BudgetAlert) -> str:
        return formatters.ago(alert.crossed_at)

    @display(description="Threshold", ordering="threshold")
    def reached(self, alert: BudgetAlert) -> str:
        return f"{alert.threshold}%"

    @display(description="Spent of budget", ordering="spent_usd")
    def spend(self, alert: BudgetAlert) -> str:
        return formatters.budget_bar(spent=alert.spent_usd, budget=alert.budget_usd)
