"""Correct a wrong price: what calls should have cost, and the difference as adjustments.

Ledger rows stay as they are. For each tenant and billing period, one correction records the difference of each UTC day.
A run subtracts what earlier runs have corrected, so running again, over the same or overlapping days, books only what
still differs.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any

import msgspec
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import QuerySet

from billing.ledger.adjustments import book
from billing.models import Adjustment, AdjustmentKind, ModelPrice, UsageRecord, UsageStatus
from billing.prices.price_book import PriceBook, cost, read_prices, with_margin
from billing.usage import Usage
from gateway_project.ground.errors import TenantryError
from gateway_project.ground.money import to_nano, to_usd
from routing.models import Model
from tenants.models import Tenant

_COUNTS = Usage.__struct_fields__
_READ = ("tenant_id", "period_start", "created_at", "model", "cost_usd", "upstream_cost_usd", *_COUNTS)


class BadRepricing(TenantryError):
    """The request makes no sense; the message says why."""

    code = "invalid_request"
    status = 400
    type = "invalid_request_error"


class RepricingAsked(msgspec.Struct, frozen=True):
    """What to price again: a model's calls of whole UTC days, both ends included, of one tenant or all.

    `price` is the row to use, with its context tiers; `None` is the current price list, at the time of each call.
    """

    model: Model
    since: date
    until: date
    tenant: Tenant | None = None
    price: ModelPrice | None = None


class Day(msgspec.Struct):
    """One UTC day's sums in nano-USD: as booked in the ledger and as priced now, at sell price and at cost price."""

    calls: int = 0
    booked: int = 0
    priced: int = 0
    booked_upstream: int = 0
    priced_upstream: int = 0


class RepricedGroup(msgspec.Struct, frozen=True):
    """The sums of one tenant's calls of one billing period, in USD. `days`: what is still to be corrected."""

    tenant: Tenant
    period_start: date
    calls: int
    booked_usd: Decimal
    priced_usd: Decimal
    corrected_usd: Decimal  # by earlier runs
    days: dict[str, dict[str, str]]

    @property
    def difference_usd(self) -> Decimal:
        return sum((Decimal(day["sell_usd"]) for day in self.days.values()), Decimal(0))


class Repricing(msgspec.Struct, frozen=True):
    """A dry run's lines. It leaves the `orphaned` calls, which were charged what was reserved for them."""

    lines: list[RepricedGroup]
    orphaned: int

    @property
    def difference_usd(self) -> Decimal:
        return sum((line.difference_usd for line in self.lines), Decimal(0))


def preview(asked: RepricingAsked) -> Repricing:
    """What `book_repricing` would book. Raises BadRepricing, ModelNotPriced."""
    _check(asked)
    rows = _rows(asked)
    sums = _sums(asked, rows.exclude(status=UsageStatus.ORPHANED))
    tenants = Tenant.objects.select_related("tier").in_bulk({tenant_id for tenant_id, _ in sums})
    lines = [
        _line(tenants[tenant_id], asked.model, period_start, days)
        for (tenant_id, period_start), days in sorted(sums.items())
        if tenant_id in tenants
    ]
    return Repricing(lines=lines, orphaned=rows.filter(status=UsageStatus.ORPHANED).count())


def book_repricing(asked: RepricingAsked, *, reason: str, by: User | None = None) -> list[Adjustment]:
    """Book the differences as corrections; none where nothing differs. Raises BadRepricing, ModelNotPriced."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtext('reprice'))"
        )  # two runs would both see the difference
        return [_book(line, asked, reason, by) for line in preview(asked).lines if line.days]


def corrections(*, model: str) -> QuerySet[Adjustment]:
    """Every correction of this model's price. `details["reprice"]["days"]` has the change of each UTC day."""
    return Adjustment.objects.filter(kind=AdjustmentKind.CORRECTION, details__reprice__model=model)


def _check(asked: RepricingAsked) -> None:
    if asked.until < asked.since:
        raise BadRepricing("The last day is before the first.")
    if asked.until >= datetime.now(UTC).date() + timedelta(days=1):
        raise BadRepricing("The last day is in the future.")
    if asked.price is not None and asked.price.model_id not in (None, asked.model.pk):
        raise BadRepricing(f"That price does not belong to {asked.model.name}.")


def _rows(asked: RepricingAsked) -> Any:
    begin = datetime.combine(asked.since, time.min, UTC)
    rows = UsageRecord.objects.filter(
        model__in=(asked.model.name, *asked.model.aliases),
        created_at__gte=begin,
        created_at__lt=datetime.combine(asked.until + timedelta(days=1), time.min, UTC),
    )
    return rows.filter(tenant=asked.tenant) if asked.tenant else rows


def _sums(asked: RepricingAsked, rows: Any) -> dict[tuple[int, date], dict[date, Day]]:
    prices, fixed_at = _prices(asked)
    margins = {
        tenant.pk: tenant.tier.margin_percent if tenant.margin_percent is None else tenant.margin_percent
        for tenant in Tenant.objects.select_related("tier")
    }
    sums: dict[tuple[int, date], dict[date, Day]] = defaultdict(lambda: defaultdict(Day))
    for tenant_id, period_start, at, model, sold, bought, *counts in rows.values_list(*_READ).iterator(5000):
        usage = Usage(*counts)
        price = prices.price_of(model, at=fixed_at or at, context=usage.total_tokens - usage.output_tokens)
        upstream, booked, booked_upstream = cost(usage, price), to_nano(sold), to_nano(bought)
        day = sums[tenant_id, period_start][at.astimezone(UTC).date()]
        day.calls += 1
        day.booked += booked
        day.booked_upstream += booked_upstream
        day.priced_upstream += upstream
        day.priced += _sold(upstream, booked, booked_upstream, margins.get(tenant_id, Decimal(0)))
    return sums


def _prices(asked: RepricingAsked) -> tuple[PriceBook, datetime | None]:
    """The prices to use, and the moment at which to look them up (`None`: at that of each call)."""
    prices = read_prices()
    if asked.price is None:
        return prices, None
    of_date = asked.price.effective_from
    listed = prices.default if asked.price.model_id is None else prices.prices[asked.model.name]
    chosen = [price for price in listed if price.effective_from == of_date]
    names = (asked.model.name, *asked.model.aliases)
    return PriceBook(token="", prices=dict.fromkeys(names, chosen), default=[]), of_date


def _sold(upstream: int, booked: int, booked_upstream: int, margin_percent: Decimal) -> int:
    """The sell price with the margin the call had, or with `margin_percent` if the row does not show it."""
    if not booked_upstream:
        return with_margin(upstream, margin_percent)
    return int((Decimal(upstream) * booked / booked_upstream).to_integral_value(ROUND_CEILING))


def _line(tenant: Tenant, model: Model, period_start: date, days: dict[date, Day]) -> RepricedGroup:
    done = _corrected(tenant, model, period_start)
    left = {}
    for day, sums in sorted(days.items()):
        sell, upstream = done.get(day.isoformat(), (Decimal(0), Decimal(0)))
        sell = to_usd(sums.priced - sums.booked) - sell
        upstream = to_usd(sums.priced_upstream - sums.booked_upstream) - upstream
        if sell or upstream:
            left[day.isoformat()] = {"sell_usd": str(sell), "upstream_usd": str(upstream)}
    return RepricedGroup(
        tenant=tenant,
        period_start=period_start,
        calls=sum(day.calls for day in days.values()),
        booked_usd=to_usd(sum(day.booked for day in days.values())),
        priced_usd=to_usd(sum(day.priced for day in days.values())),
        corrected_usd=_sum(done[day.isoformat()][0] for day in days if day.isoformat() in done),
        days=left,
    )


def _corrected(tenant: Tenant, model: Model, period_start: date) -> dict[str, tuple[Decimal, Decimal]]:
    """What earlier runs have booked for this period's calls, by day: at sell price and at cost price."""
    found: dict[str, tuple[Decimal, Decimal]] = {}
    for row in _earlier(tenant, model, period_start):
        for day, change in row.details["reprice"]["days"].items():
            sell, upstream = found.get(day, (Decimal(0), Decimal(0)))
            found[day] = (sell + Decimal(change["sell_usd"]), upstream + Decimal(change["upstream_usd"]))
    return found


def _earlier(tenant: Tenant, model: Model, period_start: date) -> QuerySet[Adjustment]:
    period = period_start.isoformat()
    return corrections(model=model.name).filter(tenant=tenant, details__reprice__period_start=period)


def _book(line: RepricedGroup, asked: RepricingAsked, reason: str, by: User | None) -> Adjustment:
    period = line.period_start.isoformat()
    number = _earlier(line.tenant, asked.model, line.period_start).count() + 1
    return book(
        tenant=line.tenant,
        kind=AdjustmentKind.CORRECTION,
        amount_usd=line.difference_usd,
        reason=reason,
        reference=f"reprice {asked.model.name} {period} #{number}",
        period_start=line.period_start,
        by=by,
        details={
            "reprice": {
                "model": asked.model.name,
                "period_start": period,
                "price": asked.price.pk if asked.price else None,
                "calls": line.calls,
                "days": line.days,
            }
        },
    )


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0))
