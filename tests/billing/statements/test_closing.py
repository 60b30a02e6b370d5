"""A period is closed once, after the tenant's own midnight, and what comes later goes to the next one."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from billing.models import Adjustment, Statement, WebhookDelivery
from billing.models.adjustment import AdjustmentKind
from billing.statements import closing
from billing.statements.closing import close_due, periods_overdue
from billing.statements.pdf import _Page, statement_pdf
from gateway_project.ground.one_by_one import SomeFailed
from tests.factories import (
    ApiKeyFactory,
    BudgetAlertFactory,
    TenantFactory,
    UsageRecordFactory,
    WebhookEndpointFactory,
)
from tests.processes import run

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant(redis_server):
    return a_tenant()


def a_tenant(born=datetime(2026, 5, 3, tzinfo=UTC), **values):
    tenant = TenantFactory(**{"timezone": "UTC", "monthly_budget_usd": Decimal(10), **values})
    type(tenant).objects.filter(pk=tenant.pk).update(created_at=born)
    tenant.refresh_from_db()
    return tenant


def used(tenant, at, usd, *, period=None, recorded=None, **values):
    """A ledger row of a call at `at`, recorded then unless told otherwise."""
    return UsageRecordFactory(
        at=at,
        tenant=tenant,
        period_start=period or at.date().replace(day=1),
        cost_usd=Decimal(usd),
        recorded_at=recorded or at,
        **{"api_key": None, **values},
    )


def test_a_month_is_frozen_by_model_and_key_once_it_has_ended(tenant):
    key = ApiKeyFactory(tenant=tenant, name="app")
    used(tenant, datetime(2026, 5, 10, tzinfo=UTC), "1.5", model="sonnet", api_key=key, input_tokens=10)
    used(tenant, datetime(2026, 5, 11, tzinfo=UTC), "0.5", model="sonnet", api_key=key, input_tokens=5)
    used(tenant, datetime(2026, 5, 12, tzinfo=UTC), "4", model="opus", api_key=key)
    used(tenant, datetime(2026, 6, 1, 0, 5, tzinfo=UTC), "9", model="opus", api_key=key)

    assert close_due(datetime(2026, 6, 1, 0, 10, tzinfo=UTC)) == 0
    assert close_due(datetime(2026, 6, 1, 0, 20, tzinfo=UTC)) == 1
    assert close_due(datetime(2026, 6, 1, 0, 30, tzinfo=UTC)) == 0

    statement = Statement.objects.get()
    assert [statement.usage_usd, statement.total_usd, statement.requests] == [Decimal(6), Decimal(6), 3]
    assert [(line["model"], line["cost_usd"]) for line in statement.lines] == [
        ("opus", "4.000000000"),
        ("sonnet", "2.000000000"),
    ]
    assert statement.lines[1]["input_tokens"] == 15
    assert (statement.period_start, statement.period_end) == (date(2026, 5, 1), date(2026, 6, 1))


def test_an_outage_of_months_heals(tenant):
    used(tenant, datetime(2026, 5, 10, tzinfo=UTC), "1")
    used(tenant, datetime(2026, 6, 10, tzinfo=UTC), "2")
    used(tenant, datetime(2026, 7, 10, tzinfo=UTC), "3")

    assert close_due(datetime(2026, 8, 2, tzinfo=UTC)) == 3
    totals = Statement.objects.order_by("period_start").values_list("total_usd", flat=True)
    assert list(totals) == [1, 2, 3]


def test_a_month_in_which_thresholds_were_crossed_is_closed_with_them(tenant, written):
    for percent, usd in ((80, "8.000000001"), (90, "9.5")):
        BudgetAlertFactory(
            tenant=tenant,
            threshold=percent,
            period_start=date(2026, 5, 1),
            spent_usd=Decimal(usd),
            budget_usd=Decimal(10),
            crossed_at=datetime(2026, 5, 20, 12, 30, 1, 250, tzinfo=UTC),
        )

    assert close_due(datetime(2026, 6, 1, 1, tzinfo=UTC)) == 1

    statement = Statement.objects.get()
    assert [(each["threshold"], each["spent_usd"]) for each in statement.alerts] == [
        (80, "8.000000001"),
        (90, "9.500000000"),
    ]
    assert statement.alerts[0]["crossed_at"] == "2026-05-20T12:30:01.000250+00:00"
    statement_pdf(statement)
    assert "Budget thresholds reached" in written


def test_a_tenant_whose_month_cannot_be_closed_keeps_no_other_from_its_statement(redis_server, monkeypatch):
    first, broken, last = a_tenant(), a_tenant(), a_tenant()
    frozen = closing._frozen

    def fails_for_one(tenant, *args, **named):
        if tenant == broken:
            raise TypeError("not serializable")
        return frozen(tenant, *args, **named)

    monkeypatch.setattr(closing, "_frozen", fails_for_one)

    with pytest.raises(SomeFailed, match=broken.slug):
        close_due(datetime(2026, 6, 1, 1, tzinfo=UTC))

    assert set(Statement.objects.values_list("tenant", flat=True)) == {first.pk, last.pk}


def test_a_period_counts_as_overdue_an_hour_after_it_should_be_closed(tenant):
    assert periods_overdue(datetime(2026, 6, 1, 1, tzinfo=UTC)) == 0
    assert periods_overdue(datetime(2026, 6, 1, 1, 30, tzinfo=UTC)) == 1
    assert periods_overdue(datetime(2026, 7, 1, 1, 30, tzinfo=UTC)) == 2

    close_due(datetime(2026, 6, 1, 1, 30, tzinfo=UTC))

    assert periods_overdue(datetime(2026, 6, 1, 1, 30, tzinfo=UTC)) == 0


def test_a_row_that_comes_after_the_close_is_on_the_next_statement_as_late(tenant):
    used(tenant, datetime(2026, 5, 10, tzinfo=UTC), "1")
    close_due(datetime(2026, 6, 1, 1, tzinfo=UTC))
    late = datetime(2026, 6, 1, 3, tzinfo=UTC)
    used(tenant, datetime(2026, 5, 31, 23, 59, tzinfo=UTC), "0.25", recorded=late)
    used(tenant, datetime(2026, 6, 10, tzinfo=UTC), "2")
    close_due(datetime(2026, 7, 1, 1, tzinfo=UTC))
    close_due(datetime(2026, 8, 1, 1, tzinfo=UTC))

    may, june, july = Statement.objects.order_by("period_start")
    assert [may.total_usd, may.late_usd] == [Decimal(1), Decimal(0)]
    assert [june.usage_usd, june.late_usd] == [Decimal(2), Decimal("0.25")]
    assert june.total_usd == Decimal("2.25")
    assert june.late_lines[0]["period_start"] == "2026-05-01"
    assert july.total_usd == 0


def test_adjustments_go_to_one_statement_each(tenant):
    Adjustment.objects.create(
        tenant=tenant,
        kind=AdjustmentKind.CREDIT,
        amount_usd=Decimal("0.4"),
        reason="sorry",
        period_start=date(2026, 5, 1),
    )
    used(tenant, datetime(2026, 5, 10, tzinfo=UTC), "1")
    close_due(datetime.now(UTC) + timedelta(minutes=5))

    statements = Statement.objects.order_by("period_start")
    assert statements[0].total_usd == Decimal("0.6")
    assert statements[0].adjustment_lines[0]["reason"] == "sorry"
    assert all(each.adjustments_usd == 0 for each in statements[1:])


def test_the_month_ends_at_the_tenants_own_midnight(redis_server):
    tenant = a_tenant(timezone="Pacific/Auckland")
    used(tenant, datetime(2026, 5, 10, tzinfo=UTC), "1")
    # Midnight of 1 June in Auckland is noon of 31 May in UTC.
    assert close_due(datetime(2026, 5, 31, 12, 10, tzinfo=UTC)) == 0
    assert close_due(datetime(2026, 5, 31, 12, 16, tzinfo=UTC)) == 1
    assert Statement.objects.get().ends_at == datetime(2026, 5, 31, 12, tzinfo=UTC)


def test_a_period_that_begins_or_ends_with_a_change_of_clocks_has_its_own_length(redis_server):
    a_tenant(timezone="Europe/Berlin", billing_day=29, born=datetime(2026, 3, 5, tzinfo=UTC))
    close_due(datetime(2026, 4, 30, tzinfo=UTC))
    march, april = Statement.objects.order_by("period_start")
    # 29 March 2026 is the day of 23 hours: it begins in winter time, and the next 29th in summer time.
    assert march.ends_at == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert april.ends_at == datetime(2026, 4, 28, 22, tzinfo=UTC)
    assert march.ends_at == april.starts_at


def test_billing_day_31_closes_at_the_last_of_shorter_months(redis_server):
    a_tenant(billing_day=31, born=datetime(2026, 1, 31, tzinfo=UTC))
    close_due(datetime(2026, 5, 1, tzinfo=UTC))
    starts = Statement.objects.order_by("period_start").values_list("period_start", flat=True)
    assert list(starts) == [date(2026, 1, 31), date(2026, 2, 28), date(2026, 3, 31)]


def test_both_events_are_told_with_the_close(tenant):
    WebhookEndpointFactory(tenant=tenant)
    close_due(datetime(2026, 6, 1, 1, tzinfo=UTC))
    told = WebhookDelivery.objects.order_by("event_type")
    assert [each.event_type for each in told] == ["budget.reset", "statement.closed"]
    assert told[0].payload["data"]["budget_usd"] == "10.000000000"


def test_a_statement_is_frozen(tenant):
    close_due(datetime(2026, 6, 1, 1, tzinfo=UTC))
    with pytest.raises(Exception, match="frozen"), connection.cursor() as cursor:
        cursor.execute("UPDATE billing_statement SET total_usd = 0")


@pytest.fixture
def written(monkeypatch):
    """The lines that go into a PDF."""
    lines, write = [], _Page.write_line

    def spied(page, text, **looks):
        lines.append(text)
        write(page, text, **looks)

    monkeypatch.setattr(_Page, "write_line", spied)
    return lines


def test_a_day_of_25_hours_is_whole(redis_server):
    tenant = a_tenant(timezone="Europe/Berlin", billing_day=25, born=datetime(2026, 9, 25, 10, tzinfo=UTC))
    close_due(datetime(2026, 11, 26, tzinfo=UTC))
    september, october = Statement.objects.filter(tenant=tenant).order_by("period_start")
    # The clocks of 25 October 2026 go back: it begins in summer time, and the next 25th in winter time.
    assert september.ends_at == october.starts_at == datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert october.ends_at == datetime(2026, 11, 24, 23, tzinfo=UTC)


def test_a_change_of_the_billing_day_leaves_no_row_out_and_closes_nothing_anew(tenant):
    used(tenant, datetime(2026, 5, 10, tzinfo=UTC), "1")
    used(tenant, datetime(2026, 6, 10, tzinfo=UTC), "2")
    close_due(datetime(2026, 6, 1, 1, tzinfo=UTC))
    tenant.billing_day = 20
    tenant.save()
    used(tenant, datetime(2026, 6, 25, tzinfo=UTC), "4", period=date(2026, 6, 20))

    close_due(datetime(2026, 8, 1, tzinfo=UTC))

    starts = Statement.objects.order_by("period_start").values_list("period_start", "total_usd")
    assert list(starts) == [
        (date(2026, 5, 1), Decimal(1)),
        (date(2026, 5, 20), Decimal(0)),
        (date(2026, 6, 20), Decimal(6)),  # 2 of the period that was cut short, as late
    ]


def test_a_deleted_tenants_last_period_is_its_last_statement(tenant):
    tenant.deleted_at = datetime(2026, 6, 10, tzinfo=UTC)
    tenant.save()
    assert close_due(datetime(2026, 12, 1, 1, tzinfo=UTC)) == 2


_KILLED_WHILE_CLOSING = """
import os, signal
from datetime import UTC, datetime
from billing.statements import closing
told = []
def publish(*args, **named):
    told.append(args)
    if len(told) == {event}:
        os.kill(os.getpid(), signal.SIGKILL)
    return really(*args, **named)
really, closing.publish = closing.publish, publish
closing.close_due(datetime(2026, 6, 1, 1, tzinfo=UTC))
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("event", [1, 2])
def test_killed_between_the_steps_of_a_close_all_of_it_is_done_later_once(tenant, event):
    WebhookEndpointFactory(tenant=tenant)
    used(tenant, datetime(2026, 5, 10, tzinfo=UTC), "1")
    assert run(_KILLED_WHILE_CLOSING.format(event=event)) == -signal.SIGKILL
    assert not Statement.objects.exists()
    assert not WebhookDelivery.objects.exists()

    assert close_due(datetime(2026, 6, 1, 2, tzinfo=UTC)) == 1
    assert sorted(WebhookDelivery.objects.values_list("event_type", flat=True)) == [
        "budget.reset",
        "statement.closed",
    ]


@pytest.mark.django_db(transaction=True)
def test_two_who_close_at_once_make_one_statement(tenant):
    used(tenant, datetime(2026, 5, 10, tzinfo=UTC), "1")
    both = threading.Barrier(2)

    def at_once():
        both.wait()
        try:
            return close_due(datetime(2026, 6, 1, 1, tzinfo=UTC))
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        closed = [each.result() for each in [threads.submit(at_once) for _ in range(2)]]
    assert sorted(closed) == [0, 1]


def test_a_tenant_of_today_has_nothing_to_close(redis_server):
    TenantFactory()
    assert close_due(datetime.now(UTC) + timedelta(hours=1)) == 0
