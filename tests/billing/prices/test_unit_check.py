"""A price that is a hundred times off is asked about, in the form and in the API by the same rule."""

from decimal import Decimal

import pytest
from django.urls import reverse
from rest_framework.test import APIClient

from billing.models import ModelPrice
from billing.prices.rates import Rates
from billing.prices.unit_check import slips
from tenants.people.operators import rotate_token
from tests.factories import ModelFactory, ModelPriceFactory, StaffFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def sonnet():
    model = ModelFactory(name="sonnet", family="claude")
    ModelPriceFactory(model=model)
    return model


def rates(*, input, output, read="0.3"):
    return Rates(Decimal(input), Decimal(output), Decimal(read), Decimal("3.75"), Decimal(6))


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (rates(input=4, output=20), set()),
        (rates(input="0.003", output="0.015"), {"input_usd", "output_usd"}),  # per 1000 tokens
        (rates(input=300, output=1500), {"input_usd", "output_usd"}),  # in cents
        (rates(input=3, output=0), {"output_usd"}),  # given away
        (rates(input=3, output=15, read=30), {"cache_read_usd"}),
        (rates(input=3, output=15, read=0), set()),
    ],
)
def test_what_is_asked_about_a_models_new_price(sonnet, given, asked):
    assert set(slips(sonnet, given)) == asked


def test_a_new_model_is_held_against_its_family(sonnet):
    other = ModelFactory(family="claude")
    assert set(slips(other, rates(input=300, output=15))) == {"input_usd"}


def test_going_back_to_what_the_family_costs_after_a_slip_is_not_asked_about(sonnet):
    slipped = ModelFactory(family="claude")
    ModelPriceFactory(model=slipped, input_usd=300, output_usd=1500)
    assert not slips(slipped, rates(input=3, output=15))


def test_without_any_price_the_default_rows_is_the_measure():
    assert set(slips(ModelFactory(), rates(input="0.000003", output="0.000015"))) == {
        "input_usd",
        "output_usd",
    }
    assert not slips(None, rates(input=3, output=15))


def test_the_api_asks_and_takes_what_is_confirmed(sonnet):
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(StaffFactory())}")
    body = {"model": "sonnet", "input_usd": "300", "output_usd": "15"}

    refused = api.post("/api/prices/", body, format="json")
    taken = api.post("/api/prices/", {**body, "confirmed": True}, format="json")

    assert refused.status_code == 400
    assert set(refused.json()) == {
        "input_usd",
        "cache_write_5m_usd",
        "cache_write_1h_usd",
        "cache_read_usd",
        "confirmed",
    }
    assert taken.status_code == 201, taken.json()
    assert taken.json()["cache_read_usd"] == "300.000000"  # priced as input, not given away


def test_the_form_asks_and_takes_what_is_confirmed(sonnet, client):
    client.force_login(StaffFactory())
    page = reverse("admin:billing_modelprice_add")
    form = {
        "model": sonnet.pk,
        "effective_from_0": "2026-01-01",
        "effective_from_1": "00:00",
        "input_usd": "0.03",
        "output_usd": "15",
        "web_search_usd": "10",
        "cache_read_usd": "0.3",
        "cache_write_5m_usd": "3.75",
        "cache_write_1h_usd": "6",
        "source": "staff",
    }

    asked = client.post(page, form)

    assert asked.status_code == 200
    assert "far from what is usual here (3)" in asked.content.decode()
    assert ModelPrice.objects.count() == 1
    assert client.post(page, {**form, "confirmed": "on"}).status_code == 302
    assert ModelPrice.objects.count() == 2
