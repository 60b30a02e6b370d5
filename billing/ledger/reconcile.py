"""The periodic comparison of the books. Differences are recorded, announced, and repaired where the ledger says how."""

import logging

from django.db import transaction

from billing.ledger.books import Book, check_books
from billing.meter.current_spend import counter_of
from billing.models import DriftReport
from billing.webhooks.event_types import EventType
from billing.webhooks.publish import publish
from gateway_project.ground.one_by_one import one_by_one
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import named_key
from tenants.models import Tenant

logger = logging.getLogger(__name__)


def reconcile() -> int:
    """Compare every tenant's books, twice where they differ, since they change meanwhile. Returns how many differ.

    Raises SomeFailed if a difference could not be reported; the others are.
    """
    tenants = {tenant.slug: tenant for tenant in Tenant.objects.filter(deleted_at=None)}
    suspects = [tenants[book.tenant] for book in check_books(tenants.values()) if not book.ok]
    drifted = [book for book in check_books(suspects) if not book.ok]
    books = {tenants[book.tenant]: book for book in drifted}
    return one_by_one(books, lambda tenant: _report(books[tenant], tenant), what="reporting drift")


def _report(book: Book, tenant: Tenant) -> int:
    repaired = _repair(book, tenant)
    logger.error("the books of %s differ by %s USD", book.tenant, book.drift_usd)
    with transaction.atomic():
        report = DriftReport.objects.create(
            tenant=tenant,
            ok=False,
            redis_usd=book.redis_usd,
            ledger_usd=book.ledger_usd,
            rollup_usd=book.rollup_usd,
            reserved_usd=book.reserved_usd,
            undrained=book.undrained,
            drift_usd=book.drift_usd,
            details={"repaired": repaired},
        )
        data = {"drift_usd": str(book.drift_usd), "report": report.pk, "repaired": repaired}
        key = f"{report.tenant_id}:{report.checked_at:%Y-%m-%d}"  # once a day is enough
        publish(report.tenant, EventType.DRIFT, data, key=key)
    return 1


def _repair(book: Book, tenant: Tenant) -> bool:
    """Delete a counter that differs from the ledger. The next call finds it cold and rebuilds it safely.

    Does nothing if the roll-up differs as well, since it is then unknown which of them is right.
    """
    if book.redis_agrees or book.ledger_usd != book.rollup_usd:
        return False
    store().delete(named_key(tenant.pk, counter_of(tenant)[0]))
    return True
