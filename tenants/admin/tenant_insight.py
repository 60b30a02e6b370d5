"""What a tenant's page shows beside its settings: its month as charts, its models, its latest calls."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Sum
from django.utils import timezone

from gateway_project.console import cells
from gateway_project.console.charts import Point, bars_by_day
from tenants.models import Tenant

DAYS = 30
RECENT = 8  # calls


def insight(tenant: Tenant, *, ledger: bool) -> dict[str, Any]:
    """Template values; the latest calls only for those who may see the ledger."""
    today = timezone.now().date()
    since = today - timedelta(days=DAYS - 1)
    usage: Any = tenant.daily_usage.filter(day__gte=since).order_by()
    sums = {"cost": Sum("cost_usd"), "calls": Sum("requests")}
    days = {row["day"]: row for row in usage.values("day").annotate(**sums)}
    points = [
        _point(day, days.get(day, {"cost": Decimal(0), "calls": 0}))
        for day in (since + timedelta(days=n) for n in range(DAYS))
    ]
    models = usage.values("model").annotate(**sums).order_by("-cost")[:5]
    highest = max(point.value for point in points)
    return {
        "chart": bars_by_day(points, title="Spend by day", top=cells.short_usd(highest)),
        "models": [
            {"name": row["model"], "cost": cells.short_usd(row["cost"]), "calls": cells.count(row["calls"])}
            for row in models
        ],
        "calls": tenant.usage.order_by("-created_at")[:RECENT] if ledger else [],
    }


def _point(day: date, row: dict[str, Any]) -> Point:
    shown = f"{cells.short_usd(row['cost'])}, {cells.count(row['calls'])} requests"
    return Point(day=day, value=row["cost"], shown=shown)
