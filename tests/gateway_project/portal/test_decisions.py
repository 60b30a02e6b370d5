"""What a tenant sees of the gateway's decisions, and its usage by tag."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone

from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import tenant_key
from tests.factories import (
    DailyTagUsageFactory,
    DailyUsageFactory,
    DailyVerdictFactory,
    MembershipFactory,
    ModelFactory,
    TenantFactory,
    UsageRecordFactory,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme(redis_server):
    cheap = ModelFactory(name="cheap")
    return TenantFactory(models=[cheap, ModelFactory(name="dear", downgrade_to=cheap)])


@pytest.fixture
def see(client, acme):
    """`see("overview")`: the page, as a viewer of the tenant."""
    client.force_login(MembershipFactory(tenant=acme).user)

    def page(name, **query):
        response = client.get(reverse(f"portal:{name}", args=[acme.slug]), query)
        assert response.status_code == 200
        content = getattr(response, "streaming_content", None) or [response.content]
        return b"".join(content).decode()

    return page


def test_the_downgrade_policy_is_told(see, acme):
    page = see("overview")

    assert (
        "Once 90% of the budget is spent, cheaper models serve your requests until spend is below 80%" in page
    )
    assert "<code>dear</code> → <code>cheap</code>" in page
    assert "This is happening now" not in page


def test_it_is_told_that_cheaper_models_serve_now(see, acme):
    period = timezone.now().date().replace(day=1).isoformat()
    store().hset(f"{tenant_key(acme.pk)}:b:{period}", mapping={"spent": 95 * 10**9, "held": 0})

    assert "This is happening now" in see("overview")


def test_what_downgrades_saved_and_why_requests_were_refused(see, acme):
    DailyUsageFactory(tenant=acme, downgraded_requests=2, downgraded_cost_usd=1, saved_usd=4)
    DailyVerdictFactory(tenant=acme, code="daily_tokens_exceeded", requests=41)
    DailyVerdictFactory(tenant=acme, code="concurrency_limited", requests=7, shadow=True)
    DailyVerdictFactory(code="key_revoked")

    page = see("overview")

    assert "$4.0000" in page
    assert "daily_tokens_exceeded" in page
    assert "41" in page
    assert "concurrency_limited" not in page
    assert "key_revoked" not in page


def test_usage_is_shown_by_the_values_of_a_tag_and_for_one_of_them(see, acme):
    DailyUsageFactory(tenant=acme)
    DailyTagUsageFactory(tenant=acme, value="chat", requests=11)
    DailyTagUsageFactory(tenant=acme, value="search", requests=12)

    grouped, filtered = see("usage", tag="feature"), see("usage", tag="feature=search")

    assert "By tag feature" in grouped
    assert "chat" in grouped
    assert "<strong>12</strong>" in filtered
    assert "By tag feature" not in filtered


def test_the_csv_is_of_the_tag_asked_for(see, acme):
    at = timezone.now() - timedelta(minutes=5)
    UsageRecordFactory(tenant=acme, at=at, tags={"feature": "chat"}, cost_usd=Decimal("0.5"))
    UsageRecordFactory(tenant=acme, at=at, tags={"feature": "search"})

    lines = see("usage-csv", tag="feature=chat").splitlines()

    assert len(lines) == 2
    assert "feature=chat" in lines[1]
