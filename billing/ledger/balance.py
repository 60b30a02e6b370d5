"""A prepaid balance and what moved it: bookings, and usage day by day."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
from django.db.models import Sum

from billing.ledger.adjustments import balance_rows
from billing.meter.current_spend import budget_of, current_spend
from billing.models import Adjustment, AdjustmentKind, DailyUsage, UsageRecord
from tenants.models import Tenant

# How many movements pages and the API show: several years of them.
SHOWN = 1000


class Movement(msgspec.Struct, frozen=True):
    """One line of a balance, in USD. `balance_usd` is what is left after it. `kind` is a booking's, or `usage`."""

    day: date
    kind: str
    title: str
    reference: str
    amount_usd: Decimal
    balance_usd: Decimal


class Balance(msgspec.Struct, frozen=True):
    """What is left now, what the balance was after the last top-up, and the movements, newest first.

    The newest movement's balance comes from the ledger, which may lack the last seconds' calls.
    """

    left_usd: Decimal
    after_top_up_usd: Decimal
    movements: list[Movement]

    @property
    def left_percent(self) -> int:
        if self.after_top_up_usd <= 0:
            return 0
        return max(0, int(self.left_usd * 100 / self.after_top_up_usd))


def balance_of(tenant: Tenant) -> Balance:
    """The balance of a tenant in prepaid mode."""
    left = (budget_of(tenant) or Decimal(0)) - current_spend([tenant])[tenant.pk]
    return Balance(
        left_usd=left,
        after_top_up_usd=tenant.topped_up_to_usd,
        movements=list(reversed(movements(tenant)))[:SHOWN],
    )


def movements(tenant: Tenant) -> list[Movement]:
    """Every movement since the first top-up, oldest first. Days are the tenant's own."""
    rows = balance_rows(tenant)
    if not rows:
        return []
    lines = [*_bookings(tenant, rows), *_usage(tenant, since=rows[0].created_at)]
    moves, left = [], Decimal(0)
    for day, kind, title, reference, amount in sorted(lines, key=lambda line: line[0]):
        left += amount
        moves.append(Movement(day, kind, title, reference, amount, left))
    return moves


Line = tuple[date, str, str, str, Decimal]


def _bookings(tenant: Tenant, rows: list[Adjustment]) -> Iterator[Line]:
    zone = ZoneInfo(tenant.timezone)
    for row in rows:
        amount = row.amount_usd if row.kind == AdjustmentKind.TOPUP else -row.charge_usd
        yield row.created_at.astimezone(zone).date(), row.kind, row.reason, row.reference, amount


def _usage(tenant: Tenant, *, since: datetime) -> Iterator[Line]:
    """The usage of each day. Of the first top-up's day only what came after it, from the ledger; then the roll-up."""
    first = since.astimezone(ZoneInfo(tenant.timezone)).date()
    rows = UsageRecord.objects.filter(
        tenant=tenant, day=first, created_at__gte=since, created_at__lt=since + timedelta(days=1, hours=2)
    )
    days = [(first, rows.aggregate(usd=Sum("cost_usd"))["usd"])]
    later = DailyUsage.objects.filter(tenant=tenant, day__gt=first).values("day").order_by("day")
    days += [(row["day"], row["usd"]) for row in later.annotate(usd=Sum("cost_usd"))]
    for day, usd in days:
        if usd:
            yield day, "usage", "Usage", "", -usd
