"""What tenants have spent in their current period, as annotations for lists; from the roll-up only."""

from decimal import Decimal
from typing import Any

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


def with_spend(tenants: QuerySet[Tenant]) -> QuerySet[Tenant]:
    """Add `period`, `budget_usd` (NULL is unlimited), `spent_usd` and `period_requests`."""
    usage = (
        Tenant._meta.get_field("daily_usage")  # the roll-up stands in billing, which may import us
        .related_model.objects.filter(tenant=OuterRef("pk"), period_start=OuterRef("period"))
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


def near_budget(tenants: QuerySet[Tenant], *, percent: int = 80) -> QuerySet[Tenant]:
    """Those of `tenants` (annotated by `with_spend`) that have spent `percent` % of their budget or more."""
    return tenants.filter(budget_usd__gt=0, spent_usd__gte=F("budget_usd") * Decimal(percent) / 100)
