"""Compare the upstream's bill with the ledger: by UTC day and model, at cost price."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import reduce
from operator import add
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from billing.models import Adjustment, AdjustmentKind, BillCheck, UpstreamUsage, UsageRecord
from billing.upstream_bill.parsing import COUNTS, BillLine
from billing.usage import CACHE_WRITES
from billing.webhooks.event_types import EventType
from billing.webhooks.publish import publish
from routing.models import Model

logger = logging.getLogger(__name__)
# How far back `check_recent` looks, for rows that came late.
LOOK_BACK = timedelta(days=7)
# How many models an event names; the console has all.
NAMED = 20


class Imported(msgspec.Struct, frozen=True):
    """What an import did: the bill's lines, and the checks of its days that have ended."""

    lines: int
    checks: list[BillCheck]

    @property
    def differing(self) -> list[BillCheck]:
        return [check for check in self.checks if not check.ok]


def import_bill(lines: Iterable[BillLine], *, source: str, days: Iterable[date] = ()) -> Imported:
    """Store the bill's lines, each replacing an earlier one of its day and model, and check their days.

    `days` are those the bill covers, if known: a day without a line was billed at nothing.
    """
    rows = [
        UpstreamUsage(
            day=line.day,
            model=line.model,
            cost_usd=line.cost_usd,
            source=source[:200],
            imported_at=timezone.now(),
            **{name: getattr(line, name) for name in COUNTS},
        )
        for line in lines
    ]
    with transaction.atomic():
        UpstreamUsage.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["day", "model"],
            update_fields=["cost_usd", "source", "imported_at", *COUNTS],
        )
        checks = check_days({row.day for row in rows}.union(days))
    return Imported(lines=len(rows), checks=checks)


def check_recent(now: datetime | None = None) -> list[BillCheck]:
    """Check the days of the last `LOOK_BACK` that have a bill once more."""
    since = (now or datetime.now(UTC)).date() - LOOK_BACK
    days = UpstreamUsage.objects.filter(day__gte=since).values_list("day", flat=True).distinct()
    return check_days(set(days), now=now)


def check_days(days: set[date], *, now: datetime | None = None) -> list[BillCheck]:
    """Compare each of `days` that has ended with the ledger, and notify the operator of differences."""
    moment = now or datetime.now(UTC)
    ended = sorted(day for day in days if day < moment.date())
    if not ended:
        return []
    billed, booked = _billed(ended), _booked(ended)
    checks = [
        _check(key, billed.get(key, {}), booked.get(key, {}), moment)
        for key in sorted({*billed, *booked})
        if key[0] in days
    ]
    with transaction.atomic():
        BillCheck.objects.filter(day__in=ended).delete()
        BillCheck.objects.bulk_create(checks)
        for day in ended:
            _tell(day, [check for check in checks if check.day == day])
    return checks


DayAndModel = tuple[date, str]
Sums = dict[str, Any]


def _billed(days: list[date]) -> dict[DayAndModel, Sums]:
    """The bill's sums, by day and the upstream's name of the model."""
    names = _upstream_names()
    found: dict[DayAndModel, Sums] = defaultdict(lambda: defaultdict(Decimal))
    for line in UpstreamUsage.objects.filter(day__in=days):
        sums = found[line.day, names.get(line.model, line.model)]
        sums["usd"] += line.cost_usd
        for name in COUNTS:
            if (count := getattr(line, name)) is not None:
                sums[name] += count
    return found


def _booked(days: list[date]) -> dict[DayAndModel, Sums]:
    """The ledger's sums at cost price, with the adjustments booked since."""
    names = _upstream_names()
    found: dict[DayAndModel, Sums] = defaultdict(lambda: defaultdict(Decimal))
    rows = UsageRecord.objects.filter(
        created_at__gte=datetime.combine(days[0], time.min, UTC),
        created_at__lt=datetime.combine(days[-1] + timedelta(days=1), time.min, UTC),
    )
    grouped: Any = rows.values("model", utc_day=TruncDate("created_at", tzinfo=UTC)).order_by()
    for row in grouped.annotate(
        usd=Sum("upstream_cost_usd"),
        requests=Count("request_id"),
        n_input_tokens=Sum("input_tokens"),
        n_output_tokens=Sum("output_tokens"),
        n_cache_read_tokens=Sum("cache_read_tokens"),
        n_cache_write_tokens=Sum(reduce(add, map(F, CACHE_WRITES))),
    ):
        sums = found[row["utc_day"], names.get(row["model"], row["model"])]
        sums["usd"] += row["usd"]
        sums["requests"] += row["requests"]
        for name in COUNTS:
            if name != "requests":
                sums[name] += row[f"n_{name}"]
    for day, model, usd in _booked_since():
        if days[0] <= day <= days[-1]:
            found[day, names.get(model, model)]["usd"] += usd
    return found


def _booked_since() -> Iterator[tuple[date, str, Decimal]]:
    """By how much price corrections and late settlements changed the cost price, by UTC day and model."""
    for row in Adjustment.objects.filter(kind=AdjustmentKind.CORRECTION, details__has_key="reprice"):
        repriced = row.details["reprice"]
        for day, change in repriced["days"].items():
            yield date.fromisoformat(day), repriced["model"], Decimal(change["upstream_usd"])
    for row in Adjustment.objects.filter(kind=AdjustmentKind.LATE_SETTLE, details__has_key="late"):
        late = row.details["late"]
        yield date.fromisoformat(late["day"]), late["model"], Decimal(late["upstream_usd"])


def _upstream_names() -> dict[str, str]:
    """The upstream's name for each name of a model."""
    names = {}
    for model in Model.objects.order_by("pk"):
        for name in (*model.aliases, model.name, model.upstream_name):
            names[name] = model.upstream_name
    return names


def _check(key: DayAndModel, billed: Sums, booked: Sums, moment: datetime) -> BillCheck:
    billed_usd, booked_usd = billed.get("usd", Decimal(0)), booked.get("usd", Decimal(0))
    tolerance = max(settings.BILL_TOLERANCE_USD, abs(billed_usd) * settings.BILL_TOLERANCE_PERCENT / 100)
    return BillCheck(
        day=key[0],
        model=key[1],
        billed_usd=billed_usd,
        booked_usd=booked_usd,
        counts={
            name: [None if name not in billed else int(billed[name]), int(booked.get(name, 0))]
            for name in COUNTS
        },
        ok=abs(billed_usd - booked_usd) <= tolerance,
        checked_at=moment,
    )


def _tell(day: date, checks: list[BillCheck]) -> None:
    """Publish one event for a day, and another one only if other models differ than before."""
    differing = sorted(
        (check for check in checks if not check.ok),
        key=lambda check: -abs(check.billed_usd - check.booked_usd),
    )
    if not differing:
        return
    billed = sum((check.billed_usd for check in checks), Decimal(0))
    booked = sum((check.booked_usd for check in checks), Decimal(0))
    logger.warning("upstream's bill of %s differs from the ledger in %d models", day, len(differing))
    data = {
        "day": day.isoformat(),
        "billed_usd": str(billed),
        "booked_usd": str(booked),
        "difference_usd": str(billed - booked),
        "models_differing": len(differing),
        "models": [
            {
                "model": check.model,
                "billed_usd": str(check.billed_usd),
                "booked_usd": str(check.booked_usd),
                "difference_usd": str(check.billed_usd - check.booked_usd),
            }
            for check in differing[:NAMED]
        ],
    }
    names = ",".join(sorted(check.model for check in differing))
    publish(None, EventType.BILL, data, key=f"bill:{day}:{names}")
