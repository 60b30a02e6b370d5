"""The three books held together: live counters, ledger, roll-ups."""

import logging
import time
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec
from django.db.models import Sum

from billing.events import decode
from billing.models import DailyUsage, DriftReport, UsageRecord
from billing.money import to_usd
from billing.periods import period_of
from gateway_project.policy_changes import store
from gateway_project.shards import every_tag, tenant_key
from tenants.models import Tenant

logger = logging.getLogger(__name__)


class Book(msgspec.Struct, frozen=True):
    """One tenant's period in the three books, USD. `redis_usd` None: a cold counter, which is fine."""

    tenant: str
    redis_usd: Decimal | None
    ledger_usd: Decimal
    rollup_usd: Decimal
    reserved_usd: Decimal
    undrained: int
    undrained_usd: Decimal

    @property
    def ok(self) -> bool:
        if self.ledger_usd != self.rollup_usd:
            return False
        return self.redis_usd is None or self.redis_usd == self.ledger_usd + self.undrained_usd


def check_books(tenants: Iterable[Tenant], *, now: float | None = None) -> list[Book]:
    """The books of `tenants` in the period of `now` (epoch seconds)."""
    moment = time.time() if now is None else now
    waiting = undrained()
    return [_book(tenant, moment, waiting.get(tenant.pk, [])) for tenant in tenants]


def _book(tenant: Tenant, moment: float, waiting: list[tuple[str, int]]) -> Book:
    period = period_of(moment, tenant.timezone, tenant.billing_day).name
    counter = "b:prepaid" if tenant.budget_mode == "prepaid" else f"b:{period}"
    scope: dict[str, Any] = {"tenant": tenant}
    if tenant.budget_mode != "prepaid":
        scope["period_start"] = period
    # Redis first: what settles afterwards is in neither of the sums that follow, or in all that matter.
    spent, held = store().hmget(f"{tenant_key(tenant.pk)}:{counter}", "spent", "held")
    ledger = UsageRecord.objects.filter(**scope).aggregate(total=Sum("cost_usd"))["total"] or Decimal(0)
    rollup = DailyUsage.objects.filter(**scope).aggregate(total=Sum("cost_usd"))["total"] or Decimal(0)
    mine = [cost for start, cost in waiting if counter == "b:prepaid" or start == period]
    return Book(
        tenant=tenant.slug,
        redis_usd=None if spent is None else to_usd(int(spent)),
        ledger_usd=ledger.quantize(Decimal("1e-9")),
        rollup_usd=rollup.quantize(Decimal("1e-9")),
        reserved_usd=to_usd(int(held or 0)),
        undrained=len(mine),
        undrained_usd=to_usd(sum(mine)),
    )


def undrained() -> dict[int, list[tuple[str, int]]]:
    """Period and cost of every event that is still in a stream, by tenant."""
    waiting: dict[int, list[tuple[str, int]]] = {}
    for mark in every_tag():
        for _, fields in store().xrange(f"{mark}:usage"):
            if b"late" not in fields:
                event = decode(fields[b"e"])
                waiting.setdefault(event.tenant_id, []).append((event.period_start, event.cost_nano))
    return waiting


def reconcile() -> int:
    """Hold every tenant's books together and note what differs. Two looks, since books are moving."""
    tenants = list(Tenant.objects.filter(deleted_at=None))
    suspects = {book.tenant for book in check_books(tenants) if not book.ok}
    drifted = [
        book for book in check_books([each for each in tenants if each.slug in suspects]) if not book.ok
    ]
    by_slug = {tenant.slug: tenant for tenant in tenants}
    for book in drifted:
        redis_usd = book.ledger_usd if book.redis_usd is None else book.redis_usd
        expected = book.ledger_usd + book.undrained_usd
        drift = max(abs(redis_usd - expected), abs(book.rollup_usd - book.ledger_usd))
        logger.error("the books of %s differ by %s USD", book.tenant, drift)
        DriftReport.objects.create(
            tenant=by_slug[book.tenant],
            ok=False,
            redis_usd=book.redis_usd,
            ledger_usd=book.ledger_usd,
            rollup_usd=book.rollup_usd,
            reserved_usd=book.reserved_usd,
            undrained=book.undrained,
            drift_usd=drift,
        )
    return len(drifted)
