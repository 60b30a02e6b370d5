"""The simulation against the meter on the real Redis: the same calls under the same policy, decided alike.

Each call costs what it holds, and all come within one minute. What is known to differ (worst case against what it
did cost, clamped answers, conversations that keep their model) is left out; see `billing/what_if/past_usage.py`.
"""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from billing.meter.errors import MeteringUnavailable
from billing.meter.lease import Lease, PricedCandidate, RequestMetadata
from billing.meter.settlement import CallOutcome
from billing.prices.price_book import Price, PriceBook, cost
from billing.prices.rates import Rates
from billing.request_ids import new_request_id
from billing.usage import Usage
from billing.what_if.simulation import PastCall, SimulatedPolicy, Simulation, SimulationOutcome
from gateway_project.ground.errors import TenantryError
from gateway_project.ground.money import NanoUSD
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import every_shard, shard_key, tenant_key
from routing.candidates import candidates_for
from routing.choice import Ask
from tests.billing.meter.test_admission import MODEL, a_principal
from tests.billing.meter.test_meter import MONEY
from tests.meters import meter

pytestmark = pytest.mark.django_db(transaction=True)
TENANT = 7
AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
# The most expensive first; each may be downgraded to the next.
NAMES = ("opus", "sonnet", "haiku")
MODELS = {
    name: msgspec.structs.replace(MODEL, id=number, name=name, upstream_name=name, downgrade_to=cheaper)
    for number, (name, cheaper) in enumerate(zip(NAMES, (*NAMES[1:], None), strict=True))
}
FREE = Decimal(0)
OUTPUT_PRICES = {"opus": 9, "sonnet": 3, "haiku": 0}


class Call(NamedTuple):
    model: str
    tokens: int
    user: str
    stays_open: bool


class Decision(NamedTuple):
    """The model that serves and what it costs, or the code of what refused."""

    model: str = ""
    nano: int = 0
    refused: str = ""


def prices() -> PriceBook:
    """A nano-dollar a token is a million of them for a million."""
    return PriceBook(
        token="",
        prices={
            name: [
                Price(
                    id=1,
                    effective_from=AT - timedelta(days=1),
                    context_over_tokens=0,
                    **Rates(FREE, Decimal(price).scaleb(-3), FREE, FREE, FREE).nano(),
                    default=False,
                )
            ]
            for name, price in OUTPUT_PRICES.items()
        },
        default=[],
    )


BOOK = prices()
limit = st.none() | st.integers(0, 6)
calls = st.lists(
    st.builds(
        Call,
        model=st.sampled_from(NAMES),
        tokens=st.integers(0, 120),
        user=st.sampled_from(["", "ann", "bob"]),
        stays_open=st.booleans(),
    ),
    min_size=1,
    max_size=12,
)
policies = st.fixed_dictionaries(
    {
        "allowed": st.sets(st.sampled_from(NAMES), min_size=1),
        "requests_per_minute": limit,
        "user_requests_per_minute": limit,
        "concurrency": limit,
        "tokens_per_day": st.none() | st.integers(0, 500),
        "monthly_budget_nano": st.none() | MONEY,
        "user_monthly_budget_nano": st.none() | MONEY,
        "downgrade_percent": st.integers(0, 100),
        "release_under": st.integers(0, 100),
    }
)


def principal_under(limits):
    allowed, release_under = limits["allowed"], limits["release_under"]
    own = {name: value for name, value in limits.items() if name not in ("allowed", "release_under")}
    return a_principal(
        TENANT,
        models={name: MODELS[name] for name in NAMES if name in allowed},
        downgrade_release_percent=max(0, limits["downgrade_percent"] - release_under),
        alert_percents=(),
        **own,
    )


class Metered:
    """The calls as the meter decides them."""

    def __init__(self, principal, spent: int) -> None:
        self.principal, self.spent = principal, spent

    async def all(self, calls: list[Call]) -> list[Decision]:
        self._begin()
        try:
            return [await self._decided(call) for call in calls]
        finally:
            await meter().pipe.close()

    def _begin(self) -> None:
        store().flushall()
        for shard in every_shard():
            store().hset(shard_key(shard), mapping={"epoch": "e", "opens_ms": 0, "policy": "everyone"})
        key = tenant_key(TENANT)
        store().hset(key, "policy", "tenant")
        prepared = meter().policies.of(self.principal)
        keys = prepared.keys("", "", "")
        store().hset(keys.tenant_budget, mapping={"spent": self.spent, "held": 0})

    async def _decided(self, call: Call) -> Decision:
        policy = self.principal.policy
        ask = Ask(call.model, call.tokens, 1, False, 0, 0, 0, 0, "", end_user=call.user)
        try:
            candidates = candidates_for(
                ask,
                models=policy.models,
                routes=policy.routes,
                rules=policy.rules,
                default_model=None,
                downgrade_percent=policy.downgrade_percent,
            )
            admission = await meter().admit(
                self.principal,
                [
                    PricedCandidate(
                        each, None, NanoUSD(cost_of(call, each.model.name)), NanoUSD(0), call.tokens
                    )
                    for each in candidates
                ],
                request_id=new_request_id(),
                metadata=RequestMetadata("anthropic", call.model, False, end_user=call.user),
            )
        except MeteringUnavailable:
            raise
        except TenantryError as error:
            return Decision(refused=error.code)
        lease = admission.lease
        served = lease.offer.candidate.model.name
        if not call.stays_open:
            await self._settled(lease, call)
        return Decision(model=served, nano=lease.hold_nano)

    async def _settled(self, lease: Lease, call: Call) -> None:
        usage = Usage(output_tokens=call.tokens)
        cost = NanoUSD(lease.hold_nano)
        await meter().settle(lease, CallOutcome(usage, cost, cost))


def cost_of(call: Call, model: str) -> int:
    return cost(Usage(output_tokens=call.tokens), BOOK.price_of(model, at=AT))


def simulated(principal, calls: list[Call], spent: int) -> list[Decision]:
    """The calls as the simulation decides them."""
    found = SimulationOutcome(tenant="acme", since=AT, until=AT, played_from=AT)
    simulation = Simulation(SimulatedPolicy(principal.policy, BOOK), found, spent_nano=NanoUSD(spent))
    decisions = []
    for number, call in enumerate(calls):
        refused, moved = dict(found.refused), {name: move.calls for name, move in found.moves.items()}
        would = found.would_nano
        simulation.play(row_of(call, number))
        codes = [code for code, count in found.refused.items() if count != refused.get(code, 0)]
        if codes:
            decisions.append(Decision(refused=codes[0]))
            continue
        served = [name[1] for name, move in found.moves.items() if move.calls != moved.get(name, 0)]
        decisions.append(Decision(model=(served or [call.model])[0], nano=found.would_nano - would))
    return decisions


def row_of(call: Call, number: int) -> PastCall:
    return PastCall(
        created_at=AT + timedelta(milliseconds=number),
        day=AT.date(),
        period_start=date(2026, 3, 1),
        end_user=call.user,
        route="requested",
        model=call.model,
        model_preferred="",
        status="ok",
        latency_ms=3_600_000 if call.stays_open else 0,
        input_tokens=0,
        output_tokens=call.tokens,
        cache_read_tokens=0,
        cache_write_5m_tokens=0,
        cache_write_1h_tokens=0,
        web_searches=0,
        cost_usd=Decimal(cost_of(call, call.model)).scaleb(-9),
        text_bytes=None,
        message_count=None,
        tool_count=None,
        keyword="",
    )


def unlimited(**limits):
    none = dict.fromkeys(
        ("requests_per_minute", "user_requests_per_minute", "concurrency", "tokens_per_day",
         "monthly_budget_nano", "user_monthly_budget_nano")
    )  # fmt: skip
    return {"allowed": set(NAMES), **none, "downgrade_percent": 90, "release_under": 10, **limits}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limits=policies, calls=calls, spent=MONEY)
# The budget has room for the cheaper model only, long before cheaper ones are preferred.
@example(unlimited(monthly_budget_nano=500), [Call("opus", 100, "", False)], 0)
# What is open is held, and not spent: cheaper models are not preferred yet.
@example(
    unlimited(monthly_budget_nano=1000, downgrade_percent=10),
    [Call("opus", 20, "", True), Call("opus", 20, "", False)],
    0,
)
# What costs nothing passes a budget that is overdrawn.
@example(unlimited(monthly_budget_nano=10), [Call("haiku", 50, "", False)], 20)
def test_the_simulation_decides_as_the_meter_does(redis_server, limits, calls, spent):
    principal = principal_under(limits)
    # A model the tenant may not use is served again as it was: the meter was never asked.
    calls = [call for call in calls if call.model in principal.policy.models]

    metered = asyncio.run(Metered(principal, spent).all(calls))

    assert simulated(principal, calls, spent) == metered
