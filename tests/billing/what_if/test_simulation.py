"""Recorded usage under other terms: what it would cost, and what would be refused or downgraded."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing.what_if.past_usage import terms_for, what_if
from routing.choice import ComplexityRules
from tests.factories import (
    ComplexityRuleFactory,
    ModelFactory,
    ModelPriceFactory,
    TenantFactory,
    TierFactory,
    TierRouteFactory,
    UsageRecordFactory,
)

pytestmark = pytest.mark.django_db
DAY = datetime(2026, 3, 10, 12, tzinfo=UTC)
MANY = 2**53


@pytest.fixture(autouse=True)
def _meter(redis_server):
    return redis_server


@pytest.fixture
def sonnet():
    return ModelPriceFactory(model=ModelFactory(name="sonnet")).model


@pytest.fixture
def opus(sonnet):
    model = ModelFactory(name="opus", downgrade_to=sonnet)
    return ModelPriceFactory(model=model, input_usd=15, output_usd=75).model


@pytest.fixture
def tenant(sonnet, opus):
    unlimited = TierFactory(max_requests_per_minute=None, max_tokens_per_day=None, monthly_budget_usd=None)
    return TenantFactory(slug="acme", tier=unlimited, models=[sonnet, opus])


def a_call(tenant, second=0, **values):
    """A sonnet call of 1000 tokens in, 50 out: $0.00375 by the price list."""
    return UsageRecordFactory(
        tenant=tenant, at=DAY + timedelta(seconds=second), **{"model": "sonnet", **values}
    )


def played(tenant, *, most_rows=None, **terms):
    span = {"since": DAY - timedelta(days=1), "until": DAY + timedelta(days=1)}
    return what_if(tenant, terms_for(tenant, **terms), most_rows=most_rows, **span)


def usd(nano):
    return Decimal(nano).scaleb(-9)


def test_under_the_terms_in_force_nothing_differs(tenant):
    a_call(tenant)
    a_call(tenant, cache_read_tokens=500, web_searches=2, cost_usd=Decimal("0.0239"))
    a_call(tenant, model_preferred="opus", route="requested+fallback")
    a_call(tenant, status="upstream_error", input_tokens=0, output_tokens=0, cost_usd=0)

    found = played(tenant)

    assert (found.calls, usd(found.recorded_nano)) == (4, Decimal("0.0314"))
    assert found.recorded_nano == found.would_nano
    assert (found.refused, found.moves, found.would_downgrade) == ({}, {}, 0)


def test_another_tiers_margin_is_the_difference(tenant):
    a_call(tenant)

    found = played(tenant, tier=TierFactory(margin_percent=10))

    assert usd(found.difference_nano) == Decimal("0.000375")


def test_another_tiers_routes_move_automatic_calls_only(tenant, sonnet):
    dearer = TierFactory()
    TierRouteFactory(tier=dearer, complexity="complex", model=sonnet)
    a_call(tenant, model="opus", route="auto:complex", cost_usd=Decimal("0.01875"))
    a_call(tenant, model="opus", route="requested", cost_usd=Decimal("0.01875"))

    found = played(tenant, tier=dearer)

    assert [(move.served_by, move.would_be, move.calls) for move in found.moves.values()] == [
        ("opus", "sonnet", 1)
    ]
    assert usd(found.difference_nano) == Decimal("-0.015")


def test_a_route_to_a_model_the_tenant_may_not_use_is_a_refusal(tenant):
    strange = TierRouteFactory(complexity="simple", model=ModelFactory())
    a_call(tenant, route="auto:simple")

    found = played(tenant, tier=strange.tier)

    assert found.refused == {"model_not_allowed": 1}
    assert (usd(found.refused_nano), found.would_nano) == (Decimal("0.00375"), 0)


@pytest.mark.parametrize(
    ("limits", "calls", "refused"),
    [
        ({"max_requests_per_minute": 2}, [0, 1, 2, 59, 61], {"rate_limited": 2}),
        ({"max_user_requests_per_minute": 1}, [0, 1], {"user_rate_limited": 1}),
        ({"max_concurrency": 1}, [0, 0.5, 1], {"concurrency_limited": 1}),
        ({"max_tokens_per_day": 2000}, [0, 1, 2], {"daily_tokens_exceeded": 1}),
        (
            {"monthly_budget_usd": Decimal("0.008"), "downgrade_percent": 100},
            [0, 1, 2],
            {"budget_exceeded": 1},
        ),
        ({"user_monthly_budget_usd": Decimal("0.004")}, [0, 1], {"budget_exceeded": 1}),
    ],
)
def test_each_limit_of_the_tier_refuses_as_the_meter_would(tenant, limits, calls, refused):
    for second in calls:
        a_call(tenant, second, end_user="ann", latency_ms=900)

    found = played(tenant, tier=TierFactory(**{"max_requests_per_minute": None, **limits}))

    assert found.refused == refused


def test_a_tenants_own_limit_holds_under_any_tier(tenant):
    tenant.max_requests_per_minute = 1
    a_call(tenant, 0)
    a_call(tenant, 1)

    assert played(tenant, tier=TierFactory(max_requests_per_minute=50)).refused == {"rate_limited": 1}


def test_near_the_budgets_end_the_cheaper_model_serves(tenant):
    for second in range(3):
        a_call(tenant, second, model="opus", cost_usd=Decimal("0.01875"))

    found = played(tenant, tier=TierFactory(monthly_budget_usd=Decimal("0.04"), downgrade_percent=40))

    assert (found.would_downgrade, found.downgraded, found.refused) == (2, 0, {})
    assert usd(found.would_nano) == Decimal("0.01875") + 2 * Decimal("0.00375")


def test_what_was_downgraded_would_be_served_as_asked_with_a_larger_budget(tenant):
    a_call(tenant, model="sonnet", model_preferred="opus", route="requested+downgraded")

    found = played(tenant, tier=TierFactory(monthly_budget_usd=None))

    assert (found.downgraded, found.would_downgrade) == (1, 0)
    assert usd(found.difference_nano) == Decimal("0.015")


def test_other_rules_judge_complexity_anew_where_the_ledger_knows_how(tenant, opus, sonnet):
    for complexity, model in (("simple", sonnet), ("complex", opus)):
        TierRouteFactory(tier=tenant.tier, complexity=complexity, model=model)
    a_call(tenant, route="auto:simple", text_bytes=5000, message_count=1, tool_count=0)
    a_call(tenant, route="auto:simple", text_bytes=10, message_count=1, tool_count=0, keyword="prove")
    a_call(tenant, route="auto:simple", text_bytes=10, message_count=1, tool_count=0)
    a_call(tenant, route="auto:simple")

    found = played(tenant, rules=ComplexityRules(4000, MANY, MANY, ("prove",)))

    assert [(move.would_be, move.calls) for move in found.moves.values()] == [("opus", 2)]
    assert found.unjudged == 1


def test_what_an_orphan_was_charged_stays(tenant):
    a_call(tenant, status="orphaned", input_tokens=0, output_tokens=0, cost_usd=Decimal("0.5"))

    assert played(tenant).difference_nano == 0


def replay(*arguments):
    out = StringIO()
    call_command("replay", "--tenant", "acme", "--since", "2026-03-01", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_prints_the_difference(tenant, tmp_path):
    a_call(tenant)
    TierFactory(name="dear", margin_percent=100)

    table = replay("--tier", "dear")
    told = json.loads(replay("--tier", "dear", "--until", "2026-03-31", "--json"))

    assert "$         +0.003750" in table
    assert told["difference_usd"] == "0.003750000"
    assert told["moves"][0]["would_cost_usd"] == "0.007500000"


def test_the_command_takes_prices_and_rules_from_files(tenant, tmp_path, sonnet, opus):
    for complexity, model in (("simple", sonnet), ("complex", opus)):
        TierRouteFactory(tier=tenant.tier, complexity=complexity, model=model)
    a_call(tenant, route="auto:simple", text_bytes=50, message_count=1, tool_count=0)
    (tmp_path / "prices.json").write_text('{"opus": {"input_usd": 1, "output_usd": 1}}')
    (tmp_path / "rules.json").write_text('{"max_simple_bytes": 20}')

    told = json.loads(
        replay("--prices", f"{tmp_path}/prices.json", "--rules", f"{tmp_path}/rules.json", "--json")
    )

    assert told["would_cost_usd"] == "0.001050000"


def test_the_command_takes_the_rules_in_shadow(tenant, sonnet, opus):
    for complexity, model in (("simple", sonnet), ("complex", opus)):
        TierRouteFactory(tier=tenant.tier, complexity=complexity, model=model)
    ComplexityRuleFactory(kind="threshold", subject="max_simple_messages", value=2, shadow=True)
    a_call(tenant, route="auto:simple", text_bytes=50, message_count=3, tool_count=0)

    assert json.loads(replay("--rules", "shadow", "--json"))["moves"][0]["would_be"] == "opus"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tier", "gold"], "no tier 'gold'"),
        (["--prices", "/nowhere.json"], "nowhere"),
        (["--until", "soon"], "not a date"),
    ],
)
def test_the_command_says_what_is_wrong(tenant, arguments, message):
    with pytest.raises(CommandError, match=message):
        replay(*arguments)
