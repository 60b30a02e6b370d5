"""The control API's statements and adjustments."""

from decimal import Decimal

import pytest
from rest_framework.test import APIClient

from billing.models import Adjustment
from tenants.people.operators import rotate_token
from tests.billing.ledger.test_adjustments import prepaid as prepaid  # a fixture
from tests.billing.ledger.test_adjustments import tenant as tenant  # a fixture
from tests.factories import StaffFactory

pytestmark = pytest.mark.django_db


def test_the_api_books_a_top_up_once(prepaid):
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(StaffFactory())}")
    body = {"tenant": prepaid.slug, "kind": "topup", "amount_usd": "20", "reason": "x", "reference": "I1"}
    ids = {api.post("/api/adjustments/", body, format="json").json()["id"] for _ in range(2)}
    other = api.post("/api/adjustments/", {**body, "amount_usd": "30"}, format="json")

    assert len(ids) == Adjustment.objects.count() == 1
    assert other.status_code == 400
    assert "reference" in other.json()
    shown = api.get(f"/api/tenants/{prepaid.slug}/").json()
    assert Decimal(shown["budget_remaining_usd"]) == 20
