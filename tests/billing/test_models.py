from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from billing.models import Adjustment, ModelPrice
from billing.models.model_price import PriceIsImmutable
from tests.factories import (
    AdjustmentFactory,
    BudgetAlertFactory,
    DailyUsageFactory,
    ModelPriceFactory,
    StatementFactory,
    WebhookDeliveryFactory,
    WebhookEndpointFactory,
)

pytestmark = pytest.mark.django_db


def refused(match: str | None = None):
    return pytest.raises(IntegrityError, match=match)


def test_a_price_is_never_saved_again():
    price = ModelPriceFactory()
    price.input_usd = Decimal(4)

    with pytest.raises(PriceIsImmutable):
        price.save()


def test_a_price_is_not_edited_by_raw_sql_either():
    ModelPriceFactory()

    with refused("superseded"), transaction.atomic():
        ModelPrice.objects.update(input_usd=4)


def test_a_price_in_force_is_kept():
    price = ModelPriceFactory()

    with refused("in force"), transaction.atomic():
        price.delete()


def test_a_price_of_the_future_may_be_taken_back():
    price = ModelPriceFactory(effective_from=timezone.now() + timedelta(days=1))

    price.delete()

    assert not ModelPrice.objects.exists()


@pytest.mark.parametrize("context", [None, 200_000])
def test_a_model_has_one_price_at_a_time(context):
    price = ModelPriceFactory(context_over_tokens=context)

    with refused("billing_modelprice_unique"), transaction.atomic():
        ModelPriceFactory(model=price.model, context_over_tokens=context)


def test_there_is_one_default_price_at_a_time():
    ModelPriceFactory(model=None)

    with refused("billing_modelprice_unique"), transaction.atomic():
        ModelPriceFactory(model=None)


def test_a_price_is_not_negative():
    with refused("not_negative"), transaction.atomic():
        ModelPriceFactory(output_usd=-1)


def test_a_topup_is_booked_once_by_its_reference():
    first = AdjustmentFactory(kind="topup", reference="INV-1")
    AdjustmentFactory(kind="topup", reference="INV-1")  # another tenant's own numbering

    with refused("reference_once"), transaction.atomic():
        AdjustmentFactory(tenant=first.tenant, kind="topup", reference="INV-1")


def test_a_late_settlement_is_booked_once_by_its_request():
    late = {
        "kind": "late_settle",
        "amount_usd": Decimal("-0.5"),
        "request_id": uuid4(),
    }
    AdjustmentFactory(**late)

    with refused("late_settle_once"), transaction.atomic():
        AdjustmentFactory(**late)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "topup"},
        {"kind": "grant"},
        {"kind": "credit", "amount_usd": -1},
        {"kind": "credit", "expires_at": "2026-01-01T00:00Z"},
        {"kind": "late_settle"},
        {"kind": "gift"},
        {"reason": ""},
    ],
)
def test_half_an_adjustment_is_refused(wrong):
    with refused(), transaction.atomic():
        AdjustmentFactory(**wrong)


def test_an_adjustment_only_learns_its_statement():
    adjustment = AdjustmentFactory()
    statement = StatementFactory(tenant=adjustment.tenant)

    Adjustment.objects.update(statement=statement)

    with refused("another adjustment"), transaction.atomic():
        Adjustment.objects.update(amount_usd=1)
    with refused("another adjustment"), transaction.atomic():
        adjustment.delete()


@pytest.mark.parametrize(
    ("kind", "amount", "charge"),
    [("credit", 10, -10), ("correction", -3, -3), ("late_settle", 2, 2), ("grant", 50, 0), ("topup", 50, 0)],
)
def test_what_an_adjustment_charges(kind, amount, charge):
    assert AdjustmentFactory.build(kind=kind, amount_usd=Decimal(amount)).charge_usd == charge


def test_a_threshold_is_crossed_once_in_a_period_for_one_budget():
    alert = BudgetAlertFactory()
    BudgetAlertFactory(tenant=alert.tenant, budget_usd=200)  # raised in mid-month: armed again

    with refused("budgetalert_unique"), transaction.atomic():
        BudgetAlertFactory(tenant=alert.tenant)


def test_a_roll_up_has_one_row_for_what_has_no_key():
    row = DailyUsageFactory()

    with refused("dailyusage_unique"), transaction.atomic():
        DailyUsageFactory(tenant=row.tenant)


def test_a_month_is_closed_once():
    statement = StatementFactory()

    with refused("statement_unique"), transaction.atomic():
        StatementFactory(tenant=statement.tenant)


def test_an_event_goes_to_an_endpoint_once():
    delivery = WebhookDeliveryFactory()

    with refused("webhookdelivery_unique"), transaction.atomic():
        WebhookDeliveryFactory(endpoint=delivery.endpoint, event_id=delivery.event_id)


def test_a_pending_delivery_knows_its_next_attempt():
    with refused("pending_has_a_time"), transaction.atomic():
        WebhookDeliveryFactory(next_attempt_at=None)


def test_an_endpoint_without_a_secret_is_refused():
    with refused("has_a_secret"), transaction.atomic():
        WebhookEndpointFactory(secret="")
