"""The roll-up of a day on which something changes."""

from decimal import Decimal

import pytest

from billing.ledger.books import check_books
from billing.ledger.posting import Entry, post
from billing.models import DailyUsage
from tests.billing.ledger.test_posting import an_event
from tests.factories import TenantFactory

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_day_on_which_the_billing_day_changes_belongs_to_two_periods(redis_server):
    """One batch with both must not stop the drain, and each period has its own."""
    tenant = TenantFactory()
    for number, (period, nano) in enumerate((("2026-11-01", 5), ("2026-11-23", 7), ("2026-11-01", 1))):
        post(
            [Entry(id=f"{number}-0", event=an_event(tenant.pk, period_start=period, cost_nano=nano))], shard=0
        )
    post(
        [Entry(id=f"9-{n}", event=an_event(tenant.pk, period_start=f"2026-11-{n:02}")) for n in (1, 23)],
        shard=0,
    )

    spent = dict(DailyUsage.objects.values_list("period_start", "cost_usd"))

    assert {str(period): cost for period, cost in spent.items()} == {
        "2026-11-01": Decimal("0.000000006"),
        "2026-11-23": Decimal("0.000000007"),
    }
    assert all(book.ok for book in check_books([tenant]))
