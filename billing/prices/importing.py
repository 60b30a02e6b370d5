"""Import prices from the `genai-prices` package: propose what would change, and write it.

The package's "input" includes every cached token, and a cached kind without a price of its own costs as plain input.
Our rows have a price for each kind.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal

import msgspec
from django.contrib.auth.models import User
from django.db import transaction
from genai_prices import __version__, data_snapshot, types

from billing.models import ModelPrice
from billing.prices.rates import Rates
from billing.prices.unit_check import slips
from routing.models import Model

# The provider whose list prices apply to a family's models.
PROVIDERS = {"claude": "anthropic", "gpt": "openai", "gemini": "google", "grok": "x-ai"}
# The prices that our price list has. Tokens of other kinds, such as audio, cost as text of their direction.
TEXT = {
    "input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_5m_mtok",
    "cache_write_1h_mtok", "web_searches_kcount",
}  # fmt: skip
# The import may supersede rows of these sources. It leaves what staff entered, unless they name the model.
OURS = ("genai-prices", "demo")


class PriceRow(msgspec.Struct, frozen=True):
    """One row to be written: the plain price (`over` is `None`), or the price of inputs longer than `over` tokens."""

    over: int | None
    rates: Rates


class PriceChange(msgspec.Struct, frozen=True):
    """A model's new price from a date on. It supersedes `before` (empty: none). `doubts` are likely slips of units."""

    model: Model
    source: str
    effective_from: datetime
    rows: list[PriceRow]
    before: list[PriceRow]
    doubts: dict[str, str]


class Proposal(msgspec.Struct):
    """What an import would do: changes, and the names of models that it leaves."""

    changes: list[PriceChange] = []
    unchanged: list[str] = []
    unknown: list[str] = []  # not in the package by any of their names
    kept: list[str] = []  # entered by staff, and different
    notes: list[str] = []


def propose(models: Iterable[Model], *, starting: datetime, named: bool = False) -> Proposal:
    """Compare the package's prices with the price list as it will be from `starting` on.

    `named`: staff named these very models, so prices they entered are superseded as well.
    """
    proposal = Proposal()
    for model in models:
        found = _find(model)
        if found is None:
            proposal.unknown.append(model.name)
            continue
        provider, info = found
        source = f"genai-prices {__version__} {provider}/{info.id}"[:100]
        changes = [
            PriceChange(
                model=model,
                source=source,
                effective_from=since,
                rows=rows,
                before=before,
                doubts={} if _differ_little(rows, before) else slips(model, rows[0].rates),
            )
            for since, rows, before in _differences(model, info, starting, proposal.notes)
        ]
        if not changes:
            proposal.unchanged.append(model.name)
        elif not named and _entered_by_staff(model, starting):
            proposal.kept.append(model.name)
        else:
            proposal.changes += changes
    return proposal


def write(changes: Iterable[PriceChange], *, by: User | None = None) -> int:
    """Add the rows of `changes` to the price list. Returns how many."""
    written = 0
    with transaction.atomic():
        for change in changes:
            for row in change.rows:
                ModelPrice.objects.create(
                    model=change.model,
                    effective_from=change.effective_from,
                    context_over_tokens=row.over,
                    source=change.source,
                    created_by=by,
                    **row.rates.columns(),
                )
                written += 1
    return written


def rows_of(prices: types.ModelPrice, *, embeds: bool = False) -> list[PriceRow]:
    """The package's price as our rows; empty if it lacks a price for text in or, except for embeddings, out."""
    if prices.input_mtok is None or (prices.output_mtok is None and not embeds):
        return []
    starts = {
        tier.start
        for value in (getattr(prices, name) for name in TEXT)
        if isinstance(value, types.TieredPrices)
        for tier in value.tiers
    }
    return [PriceRow(over, _rates(prices, over)) for over in (None, *sorted(starts))]


def _rates(prices: types.ModelPrice, over: int | None) -> Rates:
    """The prices of inputs just longer than `over` tokens."""

    def price(*names: str) -> Decimal:
        value = next((each for each in (getattr(prices, name) for name in names) if each is not None), None)
        if not isinstance(value, types.TieredPrices):
            return value or Decimal(0)
        reached = [tier.price for tier in value.tiers if over is not None and tier.start <= over]
        return reached[-1] if reached else value.base

    return Rates(
        input=price("input_mtok"),
        output=price("output_mtok"),
        cache_read=price("cache_read_mtok", "input_mtok"),
        cache_write_5m=price("cache_write_5m_mtok", "cache_write_mtok", "input_mtok"),
        cache_write_1h=price("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
        web_search=price("web_searches_kcount"),
    )


def _find(model: Model) -> tuple[str, types.ModelInfo] | None:
    """Provider and model in the package, by any of our names: the upstream's, then the public one, then aliases."""
    provider_id = PROVIDERS.get(model.family)
    snapshot = data_snapshot.get_snapshot()
    for name in dict.fromkeys((model.upstream_name, model.name, *model.aliases)):
        try:
            provider, info = snapshot.find_provider_model(name.rpartition("/")[2], None, provider_id, None)
        except LookupError:
            continue
        return provider.id, info
    return None


def _differences(
    model: Model, info: types.ModelInfo, starting: datetime, notes: list[str]
) -> Iterator[tuple[datetime, list[PriceRow], list[PriceRow]]]:
    """Each date from `starting` on at which the price list would change: the date, the new rows, the old rows."""
    proposed: tuple[datetime, list[PriceRow]] | None = None
    for since, prices in _dated(model, info, starting, notes):
        rows = rows_of(prices, embeds=model.embeds)
        if not rows:
            notes.append(f"{model.name}: {info.id} has no text price; skipped.")
            return
        listed_from, before = _listed(model, since)
        if proposed and (listed_from is None or listed_from <= proposed[0]):
            before = proposed[1]
        if rows == before:
            continue
        if listed_from == since:
            notes.append(f"{model.name}: already has another price from {since:%Y-%m-%d %H:%M}; skipped.")
            continue
        apart = sorted(key for key, value in prices.__dict__.items() if value is not None and key not in TEXT)
        if apart:
            notes.append(f"{model.name}: priced separately upstream, but not here: {', '.join(apart)}.")
        proposed = (since, rows)
        yield since, rows, before


def _dated(
    model: Model, info: types.ModelInfo, starting: datetime, notes: list[str]
) -> Iterator[tuple[datetime, types.ModelPrice]]:
    """The package's price in force at `starting`, then those of later dates."""
    if isinstance(info.prices, types.ModelPrice):
        yield starting, info.prices
        return
    current = info.prices[0].prices
    later: dict[date, types.ModelPrice] = {}
    for conditional in info.prices:
        constraint = conditional.constraint
        if isinstance(constraint, types.TimeOfDateConstraint):
            notes.append(f"{model.name}: time-of-day prices are not supported; skipped.")
        elif constraint is None or constraint.active(starting):
            current = conditional.prices
        else:
            later[constraint.start_date] = conditional.prices
    yield starting, current
    for day in sorted(later):
        yield datetime.combine(day, time.min, UTC), later[day]


def _listed(model: Model, at: datetime) -> tuple[datetime | None, list[PriceRow]]:
    """Since when the price list's rows in force at `at` apply, and those rows as an import would write them."""
    rows = ModelPrice.objects.filter(model=model, effective_from__lte=at).order_by("-effective_from")
    latest = rows.first()
    if latest is None:
        return None, []
    same_date = rows.filter(effective_from=latest.effective_from)
    found = [PriceRow(row.context_over_tokens, Rates.of(row)) for row in same_date]
    return latest.effective_from, sorted(found, key=lambda row: row.over or 0)


def _entered_by_staff(model: Model, at: datetime) -> bool:
    latest = (
        ModelPrice.objects.filter(model=model, effective_from__lte=at).order_by("-effective_from").first()
    )
    return latest is not None and not latest.source.startswith(OURS)


def _differ_little(rows: list[PriceRow], before: list[PriceRow]) -> bool:
    """Whether the plain price stays the same, so that nothing needs to be confirmed."""
    return bool(before) and rows[0] == before[0]
