"""What tenants have spent in their current period, as annotations for lists; from the roll-up only."""

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict

from django.db.models import (
    BigIntegerField,
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
)
from django.db.models.functions import Cast, Coalesce, Now

from tenants.models import Tenant

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

    class Spend(TypedDict):
        period: date
        budget_usd: Decimal | None
        spent_usd: Decimal
        period_requests: int

    SpendingTenant = WithAnnotations[Tenant, Spend]

MONEY = DecimalField(max_digits=24, decimal_places=9)


def period_start(moment: Any = None) -> Func:
    """The first day of the period `moment` (now) falls into, for the tenant of the row."""
    return Func(
        moment or Now(),
        F("timezone"),
        Cast("billing_day", IntegerField()),
        function="tenants_period_start",
        output_field=DateField(),
    )


def with_spend(tenants: QuerySet[Tenant]) -> "QuerySet[SpendingTenant]":
    """Add `period`, `budget_usd` (NULL is unlimited), `spent_usd` and `period_requests`."""
    roll_up: Any = Tenant._meta.get_field("daily_usage").related_model  # it stands in billing, above us
    usage = (
        roll_up.objects.filter(tenant=OuterRef("pk"), period_start=OuterRef("period"))
        .order_by()
        .values("tenant")
    )
    return tenants.annotate(
        period=period_start(),
        budget_usd=Coalesce("monthly_budget_usd", "tier__monthly_budget_usd", output_field=MONEY),
        spent_usd=Coalesce(
            Subquery(usage.annotate(sum=Sum("cost_usd")).values("sum"), output_field=MONEY),
            Value(Decimal(0), output_field=MONEY),
        ),
        period_requests=Coalesce(
            Subquery(usage.annotate(sum=Sum("requests")).values("sum"), output_field=BigIntegerField()),
            Value(0, output_field=BigIntegerField()),
        ),
    )


def near_budget(tenants: "QuerySet[SpendingTenant]", *, percent: int = 80) -> "QuerySet[SpendingTenant]":
    """Those of `tenants` (annotated by `with_spend`) that have spent `percent` % of their budget or more."""
    return tenants.filter(budget_usd__gt=Decimal(0), spent_usd__gte=F("budget_usd") * Decimal(percent) / 100)
