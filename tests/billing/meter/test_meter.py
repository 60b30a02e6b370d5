"""The meter against a model of it in a few lines of Python: whatever happens in whatever order, both say the same."""

import asyncio
import time
from collections import Counter
from decimal import Decimal
from types import SimpleNamespace
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run

from billing.ledger.books import check_books
from billing.ledger.drain import drain_all
from billing.meter.admission import short
from billing.meter.errors import BudgetExceeded, ConcurrencyLimited
from billing.meter.heartbeat import Heartbeat
from billing.meter.lease import RequestMetadata, Run
from billing.meter.meter import Meter as RealMeter
from billing.meter.meter import StalePolicy
from billing.meter.prepared_policy import PreparedPolicies
from billing.meter.reaper import Reaper
from billing.meter.settlement import CallOutcome
from billing.models import Adjustment, UsageRecord
from billing.request_ids import new_request_id
from billing.usage import Usage
from gateway_project.ground.money import NanoUSD
from gateway_project.ground.policy_changes import put_tokens
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import every_tag, tenant_key
from tenants.periods import period_of
from tenants.policy import KeyPolicy, PolicyVersion
from tests.billing.meter.test_admission import CHEAP, MODEL, a_principal, an_offer
from tests.factories import ApiKeyFactory, TenantFactory

pytestmark = pytest.mark.django_db(transaction=True)
MONEY = st.integers(0, 2_000)


class Model:
    """What must be true: money spent and held by budget, in nano-USD, and the calls that are open."""

    def __init__(self):
        self.spent: Counter[tuple[str, str, str]] = Counter()
        self.open: dict[str, tuple[int, tuple[tuple[str, str, str], ...]]] = {}

    def held(self, budget):
        return sum(hold for hold, budgets in self.open.values() if budget in budgets)

    def room(self, limits):
        return {budget: limit - self.spent[budget] - self.held(budget) for budget, limit in limits.items()}

    def admit(self, call, limits, offers, concurrency):
        """(candidate, max_tokens, hold), or why not."""
        if len(self.open) >= concurrency:
            return "concurrency"
        rooms = self.room(limits)
        room = min(rooms.values())
        for number, offer in enumerate(offers, 1):
            hold = offer.input_hold_nano + offer.output_nano_per_token * offer.held_tokens
            if hold <= max(room, 0):
                return self._opened(call, hold, limits, number, offer.max_tokens)
        for number, offer in reversed(list(enumerate(offers, 1))):
            tokens = (room - offer.input_hold_nano) // offer.output_nano_per_token
            if tokens >= max(1, offer.min_output_tokens):
                hold = offer.input_hold_nano + offer.output_nano_per_token * tokens
                return self._opened(call, hold, limits, number, tokens)
        return min(rooms, key=rooms.__getitem__)[0]

    def _opened(self, call, hold, limits, number, tokens):
        self.open[call] = (hold, tuple(limits))
        return number, tokens, hold

    def extend(self, call, price, tokens, limits):
        granted = min(tokens, *(room // price for room in self.room(limits).values()))
        if granted > 0:
            self.open[call] = (self.open[call][0] + granted * price, self.open[call][1])
        return max(0, granted)

    def settle(self, call, cost=None):
        hold, budgets = self.open.pop(call)
        self.spent.update(dict.fromkeys(budgets, hold if cost is None else cost))


class Meter(RuleBasedStateMachine):
    """Rules are what callers, staff, time and accidents do; `open_calls` are leases, `done` those that are over."""

    open_calls, done, reaped = Bundle("open"), Bundle("done"), Bundle("reaped")

    @initialize(budgets=st.tuples(MONEY, MONEY, MONEY))
    def begin(self, budgets):
        self.loop, self.meter = asyncio.Runner(), RealMeter()
        self.heartbeat, self.reaper = Heartbeat(self.meter), Reaper(self.meter)
        self.model, self.charged, self.late = Model(), {}, {}
        self.billing_day, self.budgets, self.concurrency, self.skew = 1, budgets, 50, 0
        store().flushall()
        self.tenant = TenantFactory(models=[])
        self.key = ApiKeyFactory(tenant=self.tenant)
        for tag in every_tag():
            store().hset(f"{tag}:shard", mapping={"epoch": "e", "opens_ms": 0, "policy": "everyone"})
        self.principal = self.policy_in_force()

    def policy_in_force(self):
        put_tokens({self.tenant.pk})
        token = store().hget(tenant_key(self.tenant.pk), "policy").decode()
        tenant, key, user = self.budgets
        return a_principal(
            self.tenant.pk,
            key=KeyPolicy(self.key.pk, "k", "tn_x", None, None, None, key),
            version=PolicyVersion("everyone", token),
            monthly_budget_nano=tenant,
            user_monthly_budget_nano=user,
            concurrency=self.concurrency,
            billing_day=self.billing_day,
            alert_percents=(),
        )

    def limits(self, user, run):
        """The budgets that apply to a call, as (scope, whose, period), in the order the meter looks at them."""
        period = period_of(time.time(), "UTC", self.billing_day).name
        tenant, key, of_user = self.budgets
        found = {("tenant", "", period): tenant, ("key", "", period): key}
        if user:
            found["user", user, period] = of_user
        return found | ({("run", run.id, ""): run.budget_nano} if run else {})

    @rule(
        target=open_calls,
        user=st.sampled_from(["", "ann", "bob"]),
        run=st.sampled_from([None, Run("nightly", NanoUSD(500)), Run("weekly", NanoUSD(1_000))]),
        sizes=st.lists(
            st.tuples(st.integers(0, 200), st.integers(1, 9), st.integers(1, 100), st.integers(1, 40)),
            min_size=1,
            max_size=2,
        ),
        stream=st.booleans(),
    )
    def call(self, user, run, sizes, stream):
        offers = [
            msgspec.structs.replace(
                an_offer(model, hold=hold, per_token=price, max_tokens=most, least=min(least, most)),
                first_tokens=10 if stream else None,
            )
            for model, (hold, price, most, least) in zip((MODEL, CHEAP), sizes, strict=False)
        ]
        request_id, limits = new_request_id(), self.limits(user, run)
        expected = self.model.admit(request_id, limits, offers, self.concurrency)
        metadata = RequestMetadata("anthropic", "sonnet", stream, end_user=user)
        lease, refused = self.admitted(offers, request_id=request_id, metadata=metadata, run=run)
        if lease is None:
            assert refused == expected
            return None
        assert (lease.index, lease.max_tokens, lease.hold_nano) == expected
        return SimpleNamespace(lease=lease, limits=limits)

    def admitted(self, offers, **arguments):
        """The lease, or what refused it."""
        clock = SimpleNamespace(time=lambda: time.time() + self.skew)
        with patch("billing.meter.prepared_policy.time", clock):
            try:
                return self.loop.run(self.meter.admit(self.principal, offers, **arguments)).lease, None
            except BudgetExceeded as refusal:
                return None, refusal.details["scope"]
            except ConcurrencyLimited:
                return None, "concurrency"

    @rule(call=open_calls, tokens=st.integers(1, 60))
    def write_on(self, call, tokens):
        if call is None or call.lease.request_id not in self.model.open:
            return
        price = call.lease.offer.output_nano_per_token
        granted = self.model.extend(call.lease.request_id, price, tokens, call.limits)
        try:
            self.loop.run(self.meter.extend(call.lease, tokens))
        except BudgetExceeded:
            assert granted == 0
        assert call.lease.hold_nano == self.model.open[call.lease.request_id][0]

    @rule(target=done, call=consumes(open_calls), share=st.integers(0, 130))
    def end(self, call, share):
        """It costs some share of what was held; now and then more, as with a prompt made to count much."""
        if call is None:
            return None
        cost = call.lease.hold_nano * share // 100
        settled = self.settle(call, cost)
        if call.lease.request_id in self.model.open:
            assert settled.first
            self.model.settle(call.lease.request_id, cost)
            self.charged[call.lease.request_id] = cost
        else:
            assert not settled.first  # the reaper was there before
            self.late.setdefault(call.lease.request_id, cost)
        return call

    def settle(self, call, cost):
        usage = Usage(output_tokens=1)
        outcome = CallOutcome(usage=usage, cost_nano=cost, upstream_cost_nano=cost)
        return self.loop.run(self.meter.settle(call.lease, outcome))

    @rule(call=done, cost=MONEY)
    def end_again(self, call, cost):
        if call is not None:
            assert not self.settle(call, cost).first

    @rule()
    def everyone_dies(self):
        assert self.loop.run(self.reaper.reap(dead_after=-1)) == len(self.model.open)
        for call in list(self.model.open):
            self.charged[call] = self.model.open[call][0]
            self.model.settle(call)

    @rule(budgets=st.tuples(MONEY, MONEY, MONEY), concurrency=st.sampled_from([0, 2, 50]))
    def edit_the_policy(self, budgets, concurrency):
        self.budgets, self.concurrency = budgets, concurrency
        self._superseded()

    @rule(day=st.sampled_from([1, 10, 20, 28]))
    def roll_over(self, day):
        """Another period begins, under new names, with calls of the last one still open."""
        self.billing_day = day
        self._superseded()

    def _superseded(self):
        old, self.principal = self.principal, self.policy_in_force()
        asking = self.meter.admit(
            old, [an_offer()], request_id=new_request_id(), metadata=RequestMetadata("", "", False)
        )
        with pytest.raises(StalePolicy):
            self.loop.run(asking)

    @rule(seconds=st.sampled_from([0, -40 * 86400, 40 * 86400]))
    def clock_goes_wrong(self, seconds):
        """This process's clock, not Redis's, which tells it which period it is."""
        self.skew = seconds
        self.meter.policies = PreparedPolicies()

    @rule(data=st.data())
    def a_counter_is_evicted(self, data):
        names = sorted(name for name in store().keys(f"{tenant_key(self.tenant.pk)}:*") if self._counts(name))
        if names:
            store().delete(data.draw(st.sampled_from(names)))

    @rule()
    def drain(self):
        drain_all()

    @rule()
    def every_process_beats(self):
        self.loop.run(self.heartbeat.beat("w"))

    @staticmethod
    def _counts(name):
        return name.split(b":")[-2] in (b"b", b"d") or name.endswith(b":b")

    @invariant()
    def counters_say_what_the_model_says(self):
        place = tenant_key(self.tenant.pk)
        assert store().hlen(f"{place}:leases") == len(self.model.open)
        users = {short(user): user for user in ("ann", "bob")}
        runs = {short(run): run for run in ("nightly", "weekly")}
        for name in store().keys(f"{place}:*b*"):
            match name.decode().removeprefix(f"{place}:").split(":"):
                case ["b", period]:
                    budget = ("tenant", "", period)
                case ["k", _, "b", period]:
                    budget = ("key", "", period)
                case ["u", user, "b", period]:
                    budget = ("user", users[user], period)
                case ["r", run, "b"]:
                    budget = ("run", runs[run], "")
                case _:
                    continue
            spent, held = map(int, store().hmget(name, "spent", "held"))
            assert (spent, held) == (self.model.spent[budget], self.model.held(budget)), budget

    def teardown(self):
        """All that was charged is in the ledger, once; what came late is an adjustment."""
        for call in list(self.model.open):
            self.charged[call] = self.model.open[call][0]
        self.loop.run(self.reaper.reap(dead_after=-1))
        drain_all()
        self.loop.run(self.meter.close())
        self.loop.close()
        rows = UsageRecord.objects.filter(tenant=self.tenant).values_list("request_id", "cost_usd")
        assert {str(call): int(cost * 10**9) for call, cost in rows} == self.charged
        corrections = Adjustment.objects.filter(tenant=self.tenant).values_list("request_id", "amount_usd")
        assert {str(call): amount for call, amount in corrections} == {
            call: Decimal(cost - self.charged[call]).scaleb(-9) for call, cost in self.late.items()
        }
        self.tenant.billing_day = self.billing_day
        [book] = check_books([self.tenant])
        assert book.ok
        assert not book.reserved_usd
        assert not book.undrained


def test_the_meter_does_what_the_model_does(redis_server):
    run(
        Meter,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
