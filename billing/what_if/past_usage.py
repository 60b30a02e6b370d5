"""What recorded usage would have cost under another tier, price list or rule set, and what would have been refused.

It goes through the ledger in the order of time and counts limits as the meter does. Some differences remain. The meter
refuses by what a call may cost at most, this by what it did cost. Refused calls are not in the ledger. Every model is
taken to use the same tokens. Conversations do not stay with their model.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.db.models import QuerySet, Sum

from billing.models import DailyUsage, UsageRecord
from billing.prices.price_book import Price, PriceBook, price_book
from billing.prices.rates import Rates, with_cached_as_input
from billing.what_if.simulation import PastCall, SimulatedPolicy, Simulation, SimulationOutcome
from gateway_project.ground.errors import TenantryError
from gateway_project.ground.money import NanoUSD, to_nano, to_usd
from routing.choice import ComplexityRules
from tenants.models import Tenant, Tier
from tenants.snapshots import policy_of, read_version

CHUNK_ROWS = 5_000


class BadTerms(TenantryError):
    """A price list or rule set cannot be read."""

    code = "invalid_request"
    status = 400
    type = "invalid_request_error"


def terms_for(
    tenant: Tenant,
    *,
    tier: Tier | None = None,
    prices: Mapping[str, Mapping[str, Any]] | None = None,
    priced_at: datetime | None = None,
    rules: ComplexityRules | None = None,
) -> SimulatedPolicy:
    """The policy to simulate: the one in force, with what is given in its place.

    `prices` are columns of the price list by model name; other models keep theirs. Raises BadTerms.
    """
    version = read_version(tenant.pk)
    book = price_book(version.everyone)
    return SimulatedPolicy(
        policy=policy_of(tenant, version=version, tier=tier),
        prices=_with_prices(book, prices) if prices else book,
        rules=rules,
        priced_at=priced_at,
    )


def _with_prices(book: PriceBook, prices: Mapping[str, Mapping[str, Any]]) -> PriceBook:
    given = {name: [_price(name, columns)] for name, columns in prices.items()}
    return PriceBook(token="", prices={**book.prices, **given}, default=book.default)


def _price(name: str, columns: Mapping[str, Any]) -> Price:
    try:
        named = {key.removesuffix("_usd"): value for key, value in with_cached_as_input(columns).items()}
        rates = msgspec.convert(named, Rates, strict=False)
    except (msgspec.ValidationError, AttributeError) as error:
        raise BadTerms(f"The price of {name!r} cannot be read: {error}.") from error
    always = datetime(1970, 1, 1, tzinfo=UTC)
    return Price(id=0, effective_from=always, context_over_tokens=0, default=False, **rates.nano())


def what_if(
    tenant: Tenant,
    simulated: SimulatedPolicy,
    *,
    since: datetime,
    until: datetime,
    most_rows: int | None = None,
) -> SimulationOutcome:
    """Simulate the tenant's calls from `since` until `until` under `simulated`; at most the latest `most_rows`."""
    rows = UsageRecord.objects.filter(tenant=tenant, created_at__gte=since, created_at__lt=until)
    played_from = since
    if most_rows is not None:
        newest = rows.order_by("-created_at").values_list("created_at", flat=True)
        played_from = next(iter(newest[most_rows - 1 : most_rows]), since)
    found = SimulationOutcome(tenant=tenant.slug, since=since, until=until, played_from=played_from)
    if played_from > since:
        found.left_out = rows.filter(created_at__lt=played_from).count()
        rows = rows.filter(created_at__gte=played_from)
    simulation: Simulation | None = None
    for row in _rows(rows):
        simulation = simulation or Simulation(simulated, found, spent_nano=_spent_before(tenant, row))
        simulation.play(row)
    return found


def _rows(rows: QuerySet[UsageRecord]) -> Iterator[PastCall]:
    columns = rows.order_by("created_at").values_list(*PastCall.__struct_fields__)
    return (PastCall(*values) for values in columns.iterator(chunk_size=CHUNK_ROWS))


def _spent_before(tenant: Tenant, row: PastCall) -> NanoUSD:
    """What the period had cost before the first simulated call: whole days, and that day's earlier calls."""
    days = DailyUsage.objects.filter(tenant=tenant, period_start=row.period_start, day__lt=row.day)
    calls = UsageRecord.objects.filter(
        tenant=tenant, period_start=row.period_start, day=row.day, created_at__lt=row.created_at
    )
    total = sum((each.aggregate(sum=Sum("cost_usd"))["sum"] or Decimal(0)) for each in (days, calls))
    return to_nano(Decimal(total))


def as_json(found: SimulationOutcome) -> dict[str, object]:
    """The outcome with money as text."""
    return {
        "tenant": found.tenant,
        "since": found.since.isoformat(),
        "until": found.until.isoformat(),
        "played_from": found.played_from.isoformat(),
        "calls": found.calls,
        "calls_left_out": found.left_out,
        "calls_unjudged": found.unjudged,
        "recorded_usd": f"{to_usd(found.recorded_nano):f}",
        "would_cost_usd": f"{to_usd(found.would_nano):f}",
        "difference_usd": f"{to_usd(found.difference_nano):f}",
        "refused": found.refused,
        "refused_usd": f"{to_usd(found.refused_nano):f}",
        "downgraded": found.downgraded,
        "would_downgrade": found.would_downgrade,
        "moves": [
            {
                "model": move.served_by,
                "would_be": move.would_be,
                "calls": move.calls,
                "recorded_usd": f"{to_usd(move.recorded_nano):f}",
                "would_cost_usd": f"{to_usd(move.would_nano):f}",
            }
            for move in sorted(found.moves.values(), key=lambda each: -each.calls)
        ],
    }
