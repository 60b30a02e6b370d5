"""Prepaid balances and what moved them."""

from typing import Any

from django.contrib import admin
from django.db.models import Max, Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.decorators import display

from billing.ledger.balance import balance_of
from billing.models import AdjustmentKind, PrepaidBalance
from gateway_project.console_kit import formatters
from gateway_project.console_kit.pages import ReadOnlyPage
from tenants.policy import BudgetMode
from tenants.spend import with_spend


@admin.register(PrepaidBalance)
class PrepaidBalanceAdmin(ReadOnlyPage):
    list_display = ("name", "slug", "left", "after_top_up", "last_top_up")
    search_fields = ("slug", "name")
    fields = (("name", "slug"), ("left", "after_top_up", "last_top_up"), "movements")
    readonly_fields = ("left", "after_top_up", "last_top_up", "movements")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).filter(budget_mode=BudgetMode.PREPAID.value, deleted_at=None)
        topped_up = Max("adjustments__created_at", filter=Q(adjustments__kind=AdjustmentKind.TOPUP))
        return with_spend(rows).annotate(topped_up_at=topped_up)

    @display(description="Balance (booked)")
    def left(self, tenant: Any) -> str:
        return formatters.usd(tenant.budget_usd - tenant.spent_usd)

    @display(description="Balance after last top-up", ordering="topped_up_to_usd")
    def after_top_up(self, tenant: PrepaidBalance) -> str:
        return formatters.usd(tenant.topped_up_to_usd)

    @display(description="Last top-up", ordering="topped_up_at")
    def last_top_up(self, tenant: Any) -> str:
        return formatters.ago(tenant.topped_up_at)

    @display(description="Movements")
    def movements(self, tenant: Any) -> SafeString:
        if not hasattr(tenant, "balance"):  # the theme renders a cell several times
            tenant.balance = balance_of(tenant)
        balance = tenant.balance
        rows = [
            [
                line.day.isoformat(),
                line.title,
                line.reference,
                formatters.usd(line.amount_usd),
                formatters.usd(line.balance_usd),
            ]
            for line in balance.movements
        ]
        return render_to_string(
            "admin/movements.html", {"rows": rows, "left": formatters.usd(balance.left_usd)}
        )
