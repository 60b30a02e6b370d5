"""The meter on the real Redis: windows, concurrency, budgets, the ladder, settling."""

import asyncio

import msgspec
import pytest

from billing.meter.admission import Admission
from billing.meter.errors import (
    BudgetExceeded,
    ConcurrencyLimited,
    DailyTokensExceeded,
    RateLimited,
    UserRateLimited,
)
from billing.meter.lease import PricedCandidate, RequestMetadata, Run
from billing.meter.meter import StalePolicy
from billing.meter.settlement import CallOutcome
from billing.request_ids import new_request_id
from billing.usage import Usage
from gateway_project.ground.money import NanoUSD
from routing.choice import REQUESTED, Candidate, CatalogueModel, ComplexityRules
from tenants.policy import BudgetMode, DisconnectPolicy, KeyPolicy, Policy, PolicyVersion, Principal
from tests.meters import meter

pytestmark = pytest.mark.django_db(transaction=True)
DOLLAR = 1_000_000_000
MODEL = CatalogueModel(1, "sonnet", "sonnet", "claude", 200_000, 8192, None, None, True)
CHEAP = msgspec.structs.replace(MODEL, id=2, name="haiku", upstream_name="haiku")


def a_principal(tenant_id=7, key=None, **limits):
    values = {
        "version": PolicyVersion("everyone", "tenant"),
        "tenant_id": tenant_id,
        "slug": "acme",
        "tier": "pro",
        "suspended": False,
        "models": {MODEL.name: MODEL},
        "routes": {},
        "rules": ComplexityRules(1, 1, 1, ()),
        "default_model": None,
        "requests_per_minute": None,
        "user_requests_per_minute": None,
        "concurrency": None,
        "tokens_per_day": None,
        "monthly_budget_nano": None,
        "user_monthly_budget_nano": None,
        "budget_mode": BudgetMode.HARD,
        "downgrade_percent": 90,
        "alert_percents": (80, 90, 100),
        "margin_percent": "0",
        "timezone": "UTC",
        "billing_day": 1,
        "disconnect": DisconnectPolicy.CANCEL,
    }
    key = key or KeyPolicy(3, "main", "tn_x", None, None, None, None)
    return Principal(Policy(**{**values, **limits}), key)


def an_offer(model=MODEL, *, hold=0, per_token=0, max_tokens=100, least=1, skip=None):
    return PricedCandidate(Candidate(model, REQUESTED, skip), None, hold, per_token, max_tokens, least)


@pytest.fixture
async def ready(redis_server):
    for shard in range(4):
        tag = f"{{s{shard}}}"
        redis_server.hset(f"{tag}:shard", mapping={"epoch": "e", "opens_ms": 0, "policy": "everyone"})
    redis_server.hset("{s3}:t:7", "policy", "tenant")
    yield redis_server
    await meter().pipe.close()


async def admit(principal, *offers, user="", run=None):
    return await meter().admit(
        principal,
        offers or [an_offer()],
        request_id=new_request_id(),
        metadata=RequestMetadata("anthropic", "sonnet", False, end_user=user),
        run=run,
    )


def costing(nano, tokens=0):
    return CallOutcome(usage=Usage(output_tokens=tokens), cost_nano=nano, upstream_cost_nano=nano)


async def settled(principal, nano, **arguments):
    admission = await admit(principal, **arguments)
    return await meter().settle(admission.lease, costing(nano))


async def test_exactly_fifty_of_sixty_rapid_calls_pass_at_fifty_a_minute(ready):
    principal = a_principal(requests_per_minute=50)

    answers = await asyncio.gather(*(admit(principal) for _ in range(60)), return_exceptions=True)

    assert sum(isinstance(each, RateLimited) for each in answers) == 10
    assert all(1 <= each.details["retry_after"] <= 60 for each in answers if isinstance(each, RateLimited))


async def test_a_refused_call_leaves_no_trace(ready):
    principal = a_principal(requests_per_minute=1)
    await admit(principal)
    before = {key: ready.dump(key) for key in ready.scan_iter()}

    with pytest.raises(RateLimited):
        await admit(principal)

    assert {key: ready.dump(key) for key in ready.scan_iter()} == before


async def test_a_thousand_calls_at_once_never_hold_more_than_the_budget(ready):
    principal = a_principal(monthly_budget_nano=5 * DOLLAR)
    offer = an_offer(hold=DOLLAR // 10)

    answers = await asyncio.gather(*(admit(principal, offer) for _ in range(1000)), return_exceptions=True)

    admitted = [each for each in answers if isinstance(each, Admission)]
    assert len(admitted) == 50
    assert sum(isinstance(each, BudgetExceeded) for each in answers) == 950


async def test_no_budget_is_unlimited(ready):
    await admit(a_principal(monthly_budget_nano=None), an_offer(hold=10**15))


async def test_a_budget_of_zero_refuses_at_once(ready):
    with pytest.raises(BudgetExceeded) as refusal:
        await admit(a_principal(monthly_budget_nano=0), an_offer(hold=1))
    assert refusal.value.details["scope"] == "tenant"


async def test_past_the_threshold_the_cheaper_model_is_taken(ready):
    principal = a_principal(monthly_budget_nano=DOLLAR)
    await settled(principal, 9 * DOLLAR // 10)

    admission = await admit(principal, an_offer(skip=90, hold=1), an_offer(CHEAP, hold=1))

    assert admission.lease.event.model == "haiku"


async def test_what_does_not_fit_whole_is_clamped_from_the_cheapest_up(ready):
    principal = a_principal(monthly_budget_nano=1000)

    admission = await admit(
        principal,
        an_offer(hold=100, per_token=50, max_tokens=100),
        an_offer(CHEAP, hold=100, per_token=10, max_tokens=100),
    )

    assert admission.lease.event.model == "haiku"
    assert admission.lease.max_tokens == 90
    assert admission.route.text.endswith("clamped")


async def test_a_clamp_never_goes_below_what_keeps_the_request_valid(ready):
    with pytest.raises(BudgetExceeded):
        await admit(a_principal(monthly_budget_nano=1000), an_offer(per_token=10, max_tokens=200, least=101))


async def test_concurrency_counts_open_leases(ready):
    principal = a_principal(concurrency=1)
    admission = await admit(principal)
    with pytest.raises(ConcurrencyLimited):
        await admit(principal)

    await meter().settle(admission.lease, costing(0))

    await admit(principal)


async def test_the_call_that_crosses_the_daily_tokens_is_the_last(ready):
    principal = a_principal(tokens_per_day=100)
    admission = await admit(principal)
    await meter().settle(admission.lease, costing(0, tokens=150))

    with pytest.raises(DailyTokensExceeded):
        await admit(principal)


async def test_an_end_user_has_a_window_of_its_own(ready):
    principal = a_principal(user_requests_per_minute=1)
    await admit(principal, user="ann")
    await admit(principal, user="bob")

    with pytest.raises(UserRateLimited):
        await admit(principal, user="ann")


@pytest.mark.parametrize(
    ("scope", "limits", "arguments"),
    [
        ("user", {"user_monthly_budget_nano": 10}, {"user": "ann"}),
        ("key", {"key": KeyPolicy(3, "main", "tn_x", None, None, None, NanoUSD(10))}, {}),
        ("run", {}, {"run": Run("nightly", NanoUSD(10))}),
        ("tenant", {"monthly_budget_nano": 10}, {}),
    ],
)
async def test_each_level_of_the_budget_tree_refuses_in_its_own_name(ready, scope, limits, arguments):
    principal = a_principal(**limits)
    await settled(principal, 10, **arguments)

    with pytest.raises(BudgetExceeded) as refusal:
        await admit(principal, an_offer(hold=1), **arguments)

    assert refusal.value.details["scope"] == scope


async def test_a_changed_policy_is_stale(ready):
    ready.hset("{s3}:t:7", "policy", "another")

    with pytest.raises(StalePolicy):
        await admit(a_principal())


async def test_a_lost_counter_is_rebuilt_with_what_is_spent_and_held(ready):
    principal = a_principal(monthly_budget_nano=DOLLAR)
    await settled(principal, 600)
    await admit(principal, an_offer(hold=300))
    [counter] = ready.keys("{s3}:t:7:b:*")
    before = ready.hgetall(counter)
    ready.delete(counter)

    await admit(principal, an_offer(hold=0))

    assert ready.hgetall(counter) == before
