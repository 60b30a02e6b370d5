"""Upstream's bill against the ledger: by UTC day and upstream's names, and told where they differ."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.urls import reverse

from billing.events import UsageEvent
from billing.ledger.posting import Entry, post
from billing.models import BillCheck, UpstreamUsage, WebhookDelivery
from billing.prices.repricing import RepricingAsked, book_repricing
from billing.upstream_bill.comparison import check_recent, import_bill
from billing.upstream_bill.parsing import BillLine
from gateway_project.ground.money import NanoUSD
from tests.factories import (
    ModelFactory,
    ModelPriceFactory,
    TenantFactory,
    UsageRecordFactory,
    UserFactory,
    WebhookEndpointFactory,
)

pytestmark = pytest.mark.django_db
DAY = datetime.now(UTC).date() - timedelta(days=3)


def called(usd, *, model="sonnet", hour=12, day=DAY, **values):
    at = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    return UsageRecordFactory(
        at=at, model=model, cost_usd=Decimal(usd) * 2, upstream_cost_usd=Decimal(usd), api_key=None, **values
    )


def billed(usd, *, model="sonnet", day=DAY, **values):
    return BillLine(day, model, Decimal(usd), **values)


def checks():
    rows = BillCheck.objects.order_by("day", "model")
    return [(row.day, row.model, row.billed_usd, row.booked_usd, row.ok) for row in rows]


def test_what_agrees_within_the_tolerance_is_fine_and_told_to_nobody(settings):
    settings.BILL_TOLERANCE_PERCENT = Decimal(1)
    WebhookEndpointFactory(tenant=None)
    called(60)
    called(40)

    import_bill([billed("100.9")], source="bill.csv")

    assert checks() == [(DAY, "sonnet", Decimal("100.9"), Decimal(100), True)]
    assert not WebhookDelivery.objects.exists()


def test_a_difference_is_told_to_the_operator_once(settings):
    mine = WebhookEndpointFactory(tenant=None)
    WebhookEndpointFactory(tenant=TenantFactory())
    called(100)

    imported = import_bill([billed(130), billed(5, model="unknown-model")], source="bill.csv")
    import_bill([billed(130), billed(5, model="unknown-model")], source="bill.csv")

    assert len(imported.differing) == 2
    delivery = WebhookDelivery.objects.get()
    assert (delivery.endpoint, delivery.event_type) == (mine, "bill.differs")
    data = delivery.payload["data"]
    assert (data["day"], data["models_differing"]) == (DAY.isoformat(), 2)
    assert [Decimal(data[name]) for name in ("billed_usd", "booked_usd", "difference_usd")] == [135, 100, 35]
    assert data["models"][0]["model"] == "sonnet"


def test_another_model_that_differs_is_told_of_anew():
    WebhookEndpointFactory(tenant=None)
    called(100)
    import_bill([billed(130)], source="a")
    import_bill([billed(9, model="opus")], source="b")
    assert WebhookDelivery.objects.count() == 2


def test_the_ledger_is_read_by_utc_days_and_upstreams_names():
    ModelFactory(name="sonnet", upstream_name="ez-sonnet-4", aliases=["sonnet-4-served"])
    tenant = TenantFactory(timezone="Pacific/Auckland")
    called(1, hour=0, tenant=tenant)
    called(2, hour=23, tenant=tenant, model="sonnet-4-served")
    called(4, hour=0, day=DAY + timedelta(days=1), tenant=tenant)

    import_bill(
        [billed(3, model="ez-sonnet-4"), billed(4, model="sonnet", day=DAY + timedelta(days=1))], source="x"
    )

    assert [(day, model, ok) for day, model, _, _, ok in checks()] == [
        (DAY, "ez-sonnet-4", True),
        (DAY + timedelta(days=1), "ez-sonnet-4", True),
    ]


def test_what_is_booked_and_not_billed_differs_as_well():
    called(7, model="opus")
    called(3)
    import_bill([billed(3)], source="x")
    assert checks()[0] == (DAY, "opus", Decimal(0), Decimal(7), False)


def test_counts_of_both_sides_stand_beside_each_other():
    called(3, input_tokens=10, output_tokens=2, cache_write_5m_tokens=3, cache_write_1h_tokens=4)
    import_bill([billed(3, requests=1, input_tokens=12)], source="x")
    assert BillCheck.objects.get().counts == {
        "requests": [1, 1],
        "input_tokens": [12, 10],
        "output_tokens": [None, 2],
        "cache_read_tokens": [None, 0],
        "cache_write_tokens": [None, 7],
    }


def test_a_later_bill_of_a_day_and_model_takes_the_place_of_the_earlier():
    called(3)
    import_bill([billed(9)], source="first.csv")
    import_bill([billed(3)], source="second.csv")
    line = UpstreamUsage.objects.get()
    assert (line.cost_usd, line.source) == (Decimal(3), "second.csv")
    assert [ok for *_, ok in checks()] == [True]


def test_a_row_that_came_late_is_found_by_the_next_look():
    import_bill([billed(3)], source="x")
    assert [ok for *_, ok in checks()] == [False]
    called(3)
    check_recent()
    assert [ok for *_, ok in checks()] == [True]


def test_a_day_that_has_not_ended_is_not_checked():
    import_bill([billed(3, day=datetime.now(UTC).date())], source="x")
    assert checks() == []


def test_a_corrected_price_is_taken_into_account(redis_server):
    sonnet = ModelFactory(name="sonnet", upstream_name="ez-sonnet")
    right = ModelPriceFactory(model=sonnet, effective_from=datetime(2026, 1, 1, tzinfo=UTC))
    called(30, input_tokens=1_000_000, output_tokens=0)
    import_bill([billed(3, model="ez-sonnet")], source="x")
    assert checks() == [(DAY, "ez-sonnet", Decimal(3), Decimal(30), False)]

    book_repricing(RepricingAsked(model=sonnet, since=DAY, until=DAY, price=right), reason="in cents")
    check_recent()

    assert checks() == [(DAY, "ez-sonnet", Decimal(3), Decimal(3), True)]


def test_a_late_settlement_is_taken_into_account():
    row = called(5, status="orphaned", estimated=True)
    event = UsageEvent(
        request_id=str(row.request_id),
        tenant_id=row.tenant_id,
        key_id=None,
        day=str(DAY),
        period_start=str(DAY.replace(day=1)),
        wire="anthropic",
        model="sonnet",
        cost_nano=NanoUSD(4_000_000_000),
        upstream_cost_nano=NanoUSD(2_000_000_000),
    )
    post([Entry(id="1-0", event=event, late=True)], shard=0)
    import_bill([billed(2)], source="x")
    assert checks() == [(DAY, "sonnet", Decimal(2), Decimal(2), True)]


@pytest.fixture
def as_role(client):
    def log_in(role: str) -> Any:
        user = UserFactory(is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        client.force_login(user)
        return client

    return log_in


def test_the_command_shows_where_bill_and_ledger_differ(tmp_path):
    called(100)
    bill = tmp_path / "bill.csv"
    bill.write_text(f"day,model,cost\n{DAY},sonnet,130\n")
    out = io.StringIO()

    call_command("import_upstream_bill", str(bill), stdout=out)

    assert f"DIFFERS {DAY} sonnet" in out.getvalue()
    assert "+30.000000000" in out.getvalue()
    assert "1 lines imported. 1 of 1 differ" in out.getvalue()
    bill.write_text("a,b\n1,2\n")
    with pytest.raises(CommandError, match="Row 1 has no day"):
        call_command("import_upstream_bill", str(bill))
    with pytest.raises(CommandError, match="UPSTREAM_BILL_URL is not set"):
        call_command("import_upstream_bill", "--fetch")


def test_finance_imports_a_bill_and_sees_how_it_compares(as_role):
    called(100)
    finance = as_role("Finance")
    page = reverse("admin:billing_upstreamusage_add")
    assert page in finance.get(reverse("admin:billing_upstreamusage_changelist")).content.decode()

    bill = SimpleUploadedFile("bill.csv", f"day,model,cost\n{DAY},sonnet,130\n".encode())
    answer = finance.post(page, {"file": bill}, follow=True)

    shown = answer.content.decode()
    assert "1 lines imported. 1 of 1 differ" in shown
    assert "$30.00" in shown
    wrong = finance.post(page, {"file": SimpleUploadedFile("bill.csv", b"a,b\n1,2\n")})
    assert "Row 1 has no day" in wrong.content.decode()


def test_who_may_not_import_sees_no_form(as_role):
    assert as_role("Operator").get(reverse("admin:billing_upstreamusage_add")).status_code == 403
