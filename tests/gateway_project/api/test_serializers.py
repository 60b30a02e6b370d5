"""Typing errors are answered, never ignored."""

import pytest

from tests.gateway_project.api.test_tenants import a_tenant
from tests.gateway_project.api.test_tenants import api as api  # a fixture

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tier": "none"}, "tier"),
        ({"slug": "No Slug"}, "slug"),
        ({"monthly_budget_usd": "-1"}, "monthly_budget_usd"),
        ({"monthly_budget_usd": "99999999"}, "monthly_budget_usd"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"allowed_models": ["none"]}, "allowed_models"),
        ({"max_request_per_minute": 5}, "max_request_per_minute"),
        ({"billing_day": 32}, "billing_day"),
    ],
)
def test_a_wrong_field_is_named(api, change, field):
    answer = api.post("/api/tenants/", a_tenant(**change), format="json")
    assert answer.status_code == 400
    assert field in answer.json()


@pytest.mark.parametrize(
    "query", ["key=%C2%B2", "model=%00", "tenant=%00", "end_user=%00", "status=%00", "tag=a%00=b"]
)
@pytest.mark.parametrize("path", ["/api/usage/", "/api/usage.csv"])
def test_a_filter_that_nothing_can_be_is_refused(api, path, query):
    assert api.get(f"{path}?{query}").status_code == 400
