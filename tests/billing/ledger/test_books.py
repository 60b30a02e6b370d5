"""Drift is found and kept for staff to see."""

import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from django.conf import settings
from django.db import connection, connections, transaction
from django.utils import timezone

from billing.events import UsageEvent
from billing.ledger import books
from billing.ledger.books import check_books
from billing.ledger.drain import drain_all
from billing.ledger.posting import Entry, post
from billing.models import UsageRecord
from billing.request_ids import new_request_id
from billing.tasks import keep_partitions_ahead
from gateway_project.ground.redis_keys import shard_of, tag, tenant_key
from tenants.periods import period_of
from tests.factories import DailyUsageFactory, TenantFactory, UsageRecordFactory

pytestmark = pytest.mark.django_db(transaction=True)


def spent(tenant, usd, redis_server):
    """A counter that says so; what it is held against is up to the test."""
    period = period_of(time.time(), tenant.timezone, tenant.billing_day).name
    redis_server.hset(f"{tenant_key(tenant.pk)}:b:{period}", mapping={"spent": int(usd * 10**9), "held": 5})


def in_the_stream(tenant, usd, redis_server):
    today = timezone.now().date()
    event = UsageEvent(
        new_request_id(),
        tenant.pk,
        None,
        today.isoformat(),
        today.replace(day=1).isoformat(),
        "anthropic",
        "gpt-4o",
        cost_nano=usd * 10**9,
    )
    redis_server.xadd(f"{tag(shard_of(tenant.pk))}:usage", {b"e": msgspec.msgpack.encode(event)})
    return event


def test_what_is_in_the_stream_counts_until_it_is_in_the_ledger(redis_server):
    tenant = TenantFactory()
    event = in_the_stream(tenant, 3, redis_server)
    spent(tenant, 3, redis_server)
    [book] = check_books([tenant])
    assert (book.ok, book.undrained, book.expected_usd) == (True, 1, Decimal(3))

    post([Entry(id="1-1", event=event)], shard=shard_of(tenant.pk))  # and not acknowledged yet: it is in both
    [book] = check_books([tenant])
    assert (book.ok, book.undrained) == (True, 0)
    assert book.ledger_usd == book.rollup_usd == 3


def test_a_row_that_comes_after_the_counter_was_read_is_no_drift(redis_server):
    tenant = TenantFactory()
    spent(tenant, 0, redis_server)
    UsageRecordFactory(tenant=tenant, cost_usd=2, recorded_at=timezone.now() + timedelta(minutes=1))
    DailyUsageFactory(tenant=tenant, cost_usd=2)
    [book] = check_books([tenant])
    assert (book.ok, book.ledger_usd, book.expected_usd) == (True, Decimal(2), Decimal(0))


@contextmanager
def meanwhile(monkeypatch, before: str, act):
    """`act` in another thread and session while the books are read, just before their step `before`; what waits
    for the one who reads is let go on after it.
    """
    threads = []

    def acted():
        try:
            act()
        finally:
            connections.close_all()

    def and_then(*args):
        thread = threading.Thread(target=acted)
        threads.append(thread)
        thread.start()
        while thread.is_alive() and not somebody_waits():
            thread.join(0.01)
        return step(*args)

    step = getattr(books, before)
    monkeypatch.setattr(books, before, and_then)
    yield
    for thread in threads:
        thread.join()


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database "
            "WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
        )
        return cursor.fetchone() is not None


def test_what_is_settled_and_drained_while_the_counters_are_read_is_no_drift(redis_server, monkeypatch):
    tenant = TenantFactory()

    def settle_and_drain():
        in_the_stream(tenant, 3, redis_server)
        spent(tenant, 3, redis_server)
        drain_all()

    with meanwhile(monkeypatch, "_counters", settle_and_drain):
        [book] = check_books([tenant])

    assert (book.redis_usd, book.expected_usd) == (Decimal(3), Decimal(3))
    assert UsageRecord.objects.count() == 1


def test_a_batch_that_is_committed_while_the_books_are_read_is_no_drift(redis_server, monkeypatch):
    tenant = TenantFactory()
    event = in_the_stream(tenant, 3, redis_server)
    spent(tenant, 3, redis_server)
    inserted, commit = threading.Event(), threading.Event()

    def post_slowly():
        try:
            with transaction.atomic():
                post([Entry(id="1-1", event=event)], shard=shard_of(tenant.pk))
                inserted.set()
                while not commit.is_set() and not somebody_waits():
                    commit.wait(0.01)
        finally:
            connections.close_all()

    drain = threading.Thread(target=post_slowly)
    drain.start()
    inserted.wait()

    def let_it_commit():
        commit.set()
        drain.join()

    with meanwhile(monkeypatch, "_drained", let_it_commit):
        [book] = check_books([tenant])

    drain.join()
    assert (book.redis_usd, book.expected_usd) == (Decimal(3), Decimal(3))


def test_a_counter_that_differs_is_drift_and_a_cold_one_is_not(redis_server):
    warm, cold = TenantFactory(), TenantFactory()
    spent(warm, 1, redis_server)
    assert [book.drift_usd for book in check_books([warm, cold])] == [1, 0]


def test_a_prepaid_tenants_older_periods_count_too(redis_server):
    tenant = TenantFactory(budget_mode="prepaid")
    long_ago = timezone.now().date() - timedelta(days=90)
    DailyUsageFactory(tenant=tenant, day=long_ago, cost_usd=4)
    UsageRecordFactory(tenant=tenant, cost_usd=2)
    DailyUsageFactory(tenant=tenant, cost_usd=2)
    redis_server.hset(f"{tenant_key(tenant.pk)}:b:prepaid", mapping={"spent": 6 * 10**9})
    [book] = check_books([tenant])
    assert book.ok
    assert book.ledger_usd == book.redis_usd == 6


def test_all_tenants_are_checked_by_the_same_few_questions(redis_server, django_assert_num_queries):
    tenants = [TenantFactory() for _ in range(12)]
    begin, patience, turns, time_, sums, commit = 1, 1, settings.METER_SHARDS, 1, 1, 1
    with django_assert_num_queries(begin + patience + turns + time_ + sums + commit):
        check_books(tenants)


def test_partitions_are_made_once():
    keep_partitions_ahead()

    assert keep_partitions_ahead() == 0
