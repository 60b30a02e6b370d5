"""The control API's reports: usage by tag, refusals, savings."""

from datetime import date
from decimal import Decimal

import pytest
from rest_framework.test import APIClient

from tenants.people.operators import rotate_token
from tests.factories import (
    DailyTagUsageFactory,
    DailyUsageFactory,
    DailyVerdictFactory,
    StaffFactory,
    TenantFactory,
    TierFactory,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def api():
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(StaffFactory())}")
    return client


@pytest.fixture
def acme():
    return TenantFactory(slug="acme")


def test_usage_by_the_values_of_a_tag(api, acme):
    DailyTagUsageFactory(tenant=acme, value="chat", cost_usd=Decimal("0.5"))
    DailyTagUsageFactory(tenant=acme, value="search", cost_usd=Decimal("0.7"))
    DailyTagUsageFactory(tenant=acme, name="team", value="a")
    DailyTagUsageFactory(value="another tenant's")

    told = api.get("/api/usage/tags", {"tenant": "acme", "tag": "feature"}).json()

    assert told["tags"] == ["feature", "team"]
    assert [(row["value"], row["cost_usd"]) for row in told["results"]] == [
        ("search", "0.700000000"),
        ("chat", "0.500000000"),
    ]


def test_why_requests_were_refused_between_two_days(api, acme):
    for day in (1, 2, 3):
        DailyVerdictFactory(tenant=acme, day=date(2026, 1, day))
    DailyVerdictFactory(tenant=acme, day=date(2026, 1, 2), code="rerouted", detail="opus", shadow=True)

    told = api.get(
        "/api/usage/refusals", {"tenant": "acme", "since": "2026-01-02", "until": "2026-01-03"}
    ).json()

    assert told["results"] == [
        {"code": "rate_limited", "detail": "", "shadow": False, "requests": 6},
        {"code": "rerouted", "detail": "opus", "shadow": True, "requests": 3},
    ]


def test_what_downgrades_saved_by_period(api, acme):
    amounts = {"downgraded_requests": 2, "downgraded_cost_usd": 1, "saved_usd": 4}
    DailyUsageFactory(tenant=acme, day=date(2026, 1, 5), **amounts)
    DailyUsageFactory(tenant=acme, day=date(2026, 1, 6), **amounts)
    DailyUsageFactory(tenant=acme, day=date(2026, 2, 6))

    [told] = api.get("/api/usage/savings", {"tenant": "acme"}).json()["results"]

    assert told == {
        "period_start": "2026-01-01",
        "requests": 4,
        "paid_usd": "2.000000000",
        "would_have_cost_usd": "10.000000000",
        "saved_usd": "8.000000000",
    }


@pytest.mark.parametrize(
    ("query", "status"), [({}, 400), ({"tenant": "nobody"}, 404), ({"tenant": "acme", "since": "soon"}, 400)]
)
def test_a_report_says_what_is_wrong_with_its_query(api, acme, query, status):
    assert api.get("/api/usage/refusals", query).status_code == status


def test_a_tier_is_put_in_shadow_by_its_name(api, acme):
    TierFactory(name="strict")

    answer = api.patch("/api/tenants/acme/", {"shadow_tier": "strict"}, format="json")

    assert answer.json()["shadow_tier"] == "strict"
    acme.refresh_from_db()
    assert acme.shadow_tier.name == "strict"
