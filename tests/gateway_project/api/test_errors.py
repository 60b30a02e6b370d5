"""What PostgreSQL refuses is the caller's error, with a sentence."""

import pytest

from tests.factories import (
    ModelFactory,
    ModelPriceFactory,
    TenantFactory,
)
from tests.gateway_project.api.test_tenants import api as api  # a fixture

pytestmark = pytest.mark.django_db


def test_what_is_in_use_is_not_deleted_and_the_answer_says_by_what(api):
    tenant = TenantFactory()
    price = ModelPriceFactory()

    tier = api.delete(f"/api/tiers/{tenant.tier.name}/")
    model = api.delete(f"/api/models/{price.model.name}/")

    assert (tier.status_code, model.status_code) == (409, 409)
    assert "tenants" in tier.json()["detail"]
    assert "model prices" in model.json()["detail"]


def test_what_the_tables_refuse_is_the_callers_fault(api):
    ModelFactory(name="m")

    answer = api.patch("/api/models/m/", {"downgrade_to": "m"}, format="json")

    assert answer.status_code == 400
    assert "another" in answer.json()["detail"][0]
