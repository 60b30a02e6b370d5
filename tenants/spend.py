"""What tenants have spent in their current period, as annotations for lists. It comes from the roll-up alone."""

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict

from django.db.models import (
    BigIntegerField,
    Case,
    DateField,
    DecimalField,
    F,
    Func,
    IntegerField,
    OuterRef,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce, Now
from django.utils import timezone as clock

from tenants.models import Tenant
from tenants.periods import midnight, next_period
from tenants.policy import BudgetMode

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

    class Spend(TypedDict):
        period: date
        budget_usd: Decimal | None
        spent_usd: Decimal
        period_requests: int

    SpendingTenant = WithAnnotations[Tenant, Spend]

MONEY = DecimalField(max_digits=24, decimal_places=9)


def period_start(*, of: str = "", at: datetime | None = None) -> Func:
    """The first day of the tenant's period at `at` (default: now). `of` is the path to the tenant, e.g. `tenant__`."""
    return Func(
        Now() if at is None else Value(at),
        F(f"{of}timezone"),
        Cast(f"{of}billing_day", IntegerField()),
        function="tenants_period_start",
        output_field=DateField(),
    )


def budget(*, of: str = "") -> Case:
    """`Tenant.spendable_usd` as an expression; NULL is unlimited. `of` is the path to the tenant."""
    monthly = Coalesce(f"{of}monthly_budget_usd", f"{of}tier__monthly_budget_usd", output_field=MONEY)
    return Case(
        When(**{f"{of}budget_mode": BudgetMode.PREPAID.value}, then=F(f"{of}topped_up_usd")),
        default=monthly + F(f"{of}granted_usd"),
        output_field=MONEY,
    )


def with_spend(tenants: QuerySet[Tenant]) -> "QuerySet[SpendingTenant]":
    """Annotate `period`, `budget_usd` (NULL is unlimited), `spent_usd` and `period_requests`.

    For a prepaid balance, which does not reset, both amounts are of all time.
    """
    period_usage: Any = Tenant._meta.get_field("period_usage").related_model  # billing's, which is above us
    current = period_usage.objects.filter(tenant=OuterRef("pk"), period_start=OuterRef("period"))
    ever = period_usage.objects.filter(tenant=OuterRef("pk")).order_by().values("tenant")
    spent = Case(
        When(
            budget_mode=BudgetMode.PREPAID.value,
            then=Subquery(ever.annotate(usd=Sum("cost_usd")).values("usd")),
        ),
        default=Subquery(current.values("cost_usd")),
        output_field=MONEY,
    )
    return tenants.annotate(
        period=period_start(),
        budget_usd=budget(),
        spent_usd=Coalesce(spent, Value(Decimal(0)), output_field=MONEY),
        period_requests=Coalesce(
            Subquery(current.values("requests")), Value(0), output_field=BigIntegerField()
        ),
    )


def near_budget(tenants: "QuerySet[SpendingTenant]", *, percent: int = 80) -> "QuerySet[SpendingTenant]":
    """Those of `tenants` (annotated by `with_spend`) that have spent `percent` % of their budget or more."""
    return tenants.filter(budget_usd__gt=Decimal(0), spent_usd__gte=F("budget_usd") * Decimal(percent) / 100)


# A forecast needs at least this share of a period.
TELLS_FROM = Decimal("0.02")


def passed(tenant: Tenant, *, period: date) -> Decimal:
    """How much of the tenant's period that starts on `period` has passed, from 0 to 1."""
    after = next_period(period, billing_day=tenant.billing_day)
    start, end = midnight(period, tenant.timezone), midnight(after, tenant.timezone)
    now = clock.now().timestamp()
    return Decimal(int(min(max(now, start), end) - start)) / (end - start)


def forecast(tenant: Tenant, *, spent: Decimal, period: date) -> Decimal | None:
    """The spend by the period's end at its pace so far, in USD; `None` if prepaid, idle or too early."""
    share = passed(tenant, period=period)
    if tenant.budget_mode == BudgetMode.PREPAID or not spent or share < TELLS_FROM:
        return None
    return spent / share
