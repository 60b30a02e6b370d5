"""The control API's catalogue: models and their prices."""

import pytest

from tests.factories import (
    ModelFactory,
    ModelPriceFactory,
)
from tests.gateway_project.api.test_tenants import api as api  # a fixture

pytestmark = pytest.mark.django_db


def test_a_price_is_superseded_never_edited(api):
    price = ModelPriceFactory()
    assert api.patch(f"/api/prices/{price.pk}/", {"input_usd": "1"}, format="json").status_code == 405
    made = api.post(
        "/api/prices/",
        {
            "model": price.model.name,
            "input_usd": "4",
            "output_usd": "20",
            "effective_from": "2030-01-01T00:00:00Z",
        },
        format="json",
    )
    assert made.status_code == 201, made.json()


def test_an_address_without_its_last_slash_is_the_same(api):
    ModelFactory(name="claude-x")
    body = {"model": "claude-x", "input_usd": "3", "output_usd": "15"}
    assert api.post("/api/prices", body, format="json").status_code == 201
    assert len(api.get("/api/prices").json()["results"]) == 1
    assert "/api/prices/" in api.get("/api/schema/?format=json").content.decode()
