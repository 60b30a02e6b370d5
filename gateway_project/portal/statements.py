"""Statements, and the movements of a prepaid balance."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from billing.ledger.balance import balance_of
from billing.models import Adjustment, Statement
from billing.statements.csv_file import statement_csv
from gateway_project.portal.access import member, page
from tenants.models import Membership
from tenants.policy import BudgetMode


@member()
def statements(request: HttpRequest, membership: Membership) -> HttpResponse:
    tenant = membership.tenant
    return page(
        request,
        membership,
        "statements",
        "Statements",
        statements=Statement.objects.filter(tenant=tenant).order_by("-period_start")[:60],
        adjustments=Adjustment.objects.filter(tenant=tenant).order_by("-created_at")[:50],
    )


@member()
def balance(request: HttpRequest, membership: Membership) -> HttpResponse:
    """What is left of a prepaid balance, and what moved it."""
    tenant = membership.tenant
    prepaid = tenant.budget_mode == BudgetMode.PREPAID
    return page(
        request,
        membership,
        "balance",
        "Balance",
        prepaid=prepaid,
        balance=balance_of(tenant) if prepaid else None,
    )


@member()
def statement_file(
    request: HttpRequest, membership: Membership, statement_id: int, kind: str
) -> HttpResponse:
    statement = get_object_or_404(
        Statement.objects.select_related("tenant"), pk=statement_id, tenant=membership.tenant
    )
    from billing.statements.pdf import statement_pdf  # imported late: it takes 20 MB

    content: str | bytes = statement_csv(statement) if kind == "csv" else statement_pdf(statement)
    response = HttpResponse(content, content_type="application/pdf" if kind == "pdf" else "text/csv")
    name = f"{membership.tenant.slug}-{statement.period_start}.{kind}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
