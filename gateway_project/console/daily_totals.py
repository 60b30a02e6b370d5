"""The whole installation's usage by day, from roll-ups."""

from datetime import date, timedelta
from decimal import Decimal

import msgspec
from django.contrib.postgres.fields import ArrayField
from django.db.models import Aggregate, BigIntegerField, Q, Sum

from billing.models import DailyTotal, UsageStatus

WEEK = timedelta(days=7)


class SumCounts(Aggregate):
    """The sum of histograms, bucket by bucket."""

    function = "billing_sum_counts"
    output_field = ArrayField(BigIntegerField())


class Totals(msgspec.Struct, frozen=True):
    """The sums of one day over all tenants, whose local days are added up by date."""

    day: date
    cost_usd: Decimal = Decimal(0)
    requests: int = 0
    faults: int = 0
    latency: list[int] | None = None
    ttft: list[int] | None = None


def daily_totals(*, since: date, until: date) -> list[Totals]:
    """Every day from `since` to `until`, including those without usage."""
    rows = (
        DailyTotal.objects.filter(day__gte=since, day__lte=until)
        .order_by()
        .values("day")
        .annotate(
            total_cost=Sum("cost_usd"),
            total_requests=Sum("requests"),
            faults=Sum("requests", filter=Q(status=UsageStatus.UPSTREAM_ERROR), default=0),
            # Shown for a week only, and expensive to add up.
            latency=SumCounts("latency_buckets", filter=Q(day__gt=until - WEEK)),
            ttft=SumCounts("ttft_buckets", filter=Q(day__gt=until - WEEK)),
        )
    )
    known = {
        row["day"]: Totals(
            day=row["day"],
            cost_usd=row["total_cost"],
            requests=row["total_requests"],
            faults=row["faults"],
            latency=row["latency"],
            ttft=row["ttft"],
        )
        for row in rows
    }
    every = (since + timedelta(days=n) for n in range((until - since).days + 1))
    return [known.get(day) or Totals(day=day) for day in every]
