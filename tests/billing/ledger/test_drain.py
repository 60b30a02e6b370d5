"""From the usage stream to the ledger, whoever dies on the way."""

from decimal import Decimal

import pytest

from billing.ledger.drain import Drain, drain_all
from billing.models import DailyUsage, UsageRecord
from billing.usage import Usage
from tests.billing.ledger.test_posting import an_event, put
from tests.billing.ledger.test_posting import tenant as tenant  # a fixture

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_thousand_events_at_once_all_arrive(tenant, redis_server):
    for _ in range(1000):
        put(redis_server, an_event(tenant.pk, cost_nano=3, usage=Usage(output_tokens=2)))

    drain_all()

    assert UsageRecord.objects.count() == 1000
    [day] = DailyUsage.objects.all()
    assert (day.requests, day.output_tokens, day.cost_usd) == (1000, 2000, Decimal("0.000003"))
    assert redis_server.xlen(f"{{s{tenant.pk % 4}}}:usage") == 0


def test_what_a_dead_drain_has_read_is_taken_over(tenant, redis_server, monkeypatch):
    put(redis_server, an_event(tenant.pk))
    dead = Drain()
    monkeypatch.setattr(dead, "_post", lambda *_: 0)
    dead.step()
    monkeypatch.setattr("billing.ledger.drain.CLAIM_AFTER_MS", 0)

    drain_all()

    assert UsageRecord.objects.count() == 1


def test_an_event_that_cannot_be_read_is_set_aside_and_blocks_nobody(tenant, redis_server):
    stream = f"{{s{tenant.pk % 4}}}:usage"
    redis_server.xadd(stream, {"e": b"\xc1 not an event"})
    put(redis_server, an_event(tenant.pk))

    drain_all()

    assert UsageRecord.objects.count() == 1
    assert redis_server.xlen(f"{stream}:poison") == 1
