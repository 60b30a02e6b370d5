"""Simulate limits and routes for recorded calls in the order of time: the meter's rules without Redis."""

from collections import Counter, deque
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from heapq import heappop, heappush
from operator import attrgetter

import msgspec

from billing.meter.downgrades import Lines, lines_of
from billing.models.usage_record import UsageStatus
from billing.prices.price_book import ModelNotPriced, PriceBook, cost, with_margin
from billing.usage import COUNTS, Usage
from gateway_project.ground.money import NanoUSD, to_nano
from routing.candidates import ladder_from
from routing.choice import Ask, Change, Chosen, Complexity, ComplexityRules, read_route
from routing.complexity import why_complex
from tenants.policy import BudgetMode, Policy

MINUTE = 60.0
_counts = attrgetter(*COUNTS)


class SimulatedPolicy(msgspec.Struct, frozen=True):
    """The policy to simulate. Without `rules` complexity is as recorded, without `priced_at` prices are the call's."""

    policy: Policy
    prices: PriceBook
    rules: ComplexityRules | None = None
    priced_at: datetime | None = None


class Move(msgspec.Struct):
    """Calls that one model served, and another one would have."""

    served_by: str
    would_be: str
    calls: int = 0
    recorded_nano: NanoUSD = NanoUSD(0)
    would_nano: NanoUSD = NanoUSD(0)


class SimulationOutcome(msgspec.Struct):
    """The outcome. Money is in nano-USD; `would_nano` is of the calls that are not refused.

    If only the latest calls were simulated, `played_from` is later than requested, and `left_out` is the number of
    others. `unjudged`: calls that keep their complexity, since the ledger lacks the sizes it was judged by.
    """

    tenant: str
    since: datetime
    until: datetime
    played_from: datetime
    left_out: int = 0
    calls: int = 0
    recorded_nano: NanoUSD = NanoUSD(0)
    would_nano: NanoUSD = NanoUSD(0)
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    refused_nano: NanoUSD = NanoUSD(0)
    downgraded: int = 0
    would_downgrade: int = 0
    unjudged: int = 0
    moves: dict[tuple[str, str], Move] = msgspec.field(default_factory=dict)

    @property
    def difference_nano(self) -> int:
        """How much more would be charged, in nano-USD."""
        return self.would_nano - self.recorded_nano

    @property
    def refused_calls(self) -> int:
        return sum(self.refused.values())


class PastCall(msgspec.Struct, frozen=True):
    """The part of a ledger row that is simulated; its fields are the ledger's columns."""

    created_at: datetime
    day: date
    period_start: date
    end_user: str
    route: str
    model: str
    model_preferred: str
    status: str
    latency_ms: int | None
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    web_searches: int
    cost_usd: Decimal
    text_bytes: int | None
    message_count: int | None
    tool_count: int | None
    keyword: str

    @property
    def usage(self) -> Usage:
        return Usage(*_counts(self))


class Rung(msgspec.Struct, frozen=True):
    """A candidate: its model, what the call costs with it, and whether it replaces a more expensive one."""

    model: str
    nano: NanoUSD
    downgraded: bool


class Simulation:
    """Windows and counters, for calls that `play` takes in order. `spent_nano`: already spent in the first period.

    As in the meter, an open call is held and becomes spend when it ends. Downgrades go by the spend alone.
    """

    def __init__(self, simulated: SimulatedPolicy, found: SimulationOutcome, *, spent_nano: NanoUSD) -> None:
        self.simulated, self.policy, self.found = simulated, simulated.policy, found
        self.minute: deque[float] = deque()
        self.minutes: dict[str, deque[float]] = {}
        self.open_calls: list[tuple[float, date, int]] = []  # when each ends, its period and cost
        self.day, self.tokens = date.min, 0
        self.period = date.min
        self.spent: int = spent_nano
        self.held = 0
        self.taken_by: Counter[str] = Counter()  # spent or held, by end user
        hard = self.policy.budget_mode is BudgetMode.HARD
        self.budget = self.policy.monthly_budget_nano if hard else None
        self.lines = lines_of(self.policy) if hard else Lines()
        self.saving = False

    def play(self, row: PastCall) -> None:
        found = self.found
        recorded = to_nano(row.cost_usd)
        found.calls += 1
        found.recorded_nano = NanoUSD(found.recorded_nano + recorded)
        found.downgraded += Change.DOWNGRADED in row.route
        self._turn(row)
        rungs = self._rungs(row)
        refusal = self._limit_reached(row) if rungs else "model_not_allowed"
        saving = self.lines.saves(self.spent, latched=self.saving)
        choice = None if refusal else self._first_that_fits(row, rungs, saving=saving)
        if choice is None:
            refusal = refusal or "budget_exceeded"
            found.refused[refusal] = found.refused.get(refusal, 0) + 1
            found.refused_nano = NanoUSD(found.refused_nano + recorded)
            return
        self.saving = saving
        self._admitted(row, choice.nano)
        found.would_nano = NanoUSD(found.would_nano + choice.nano)
        found.would_downgrade += choice.downgraded
        if choice.model != row.model or choice.nano != recorded:
            move = found.moves.setdefault((row.model, choice.model), Move(row.model, choice.model))
            move.calls += 1
            move.recorded_nano = NanoUSD(move.recorded_nano + recorded)
            move.would_nano = NanoUSD(move.would_nano + choice.nano)

    def _turn(self, row: PastCall) -> None:
        """Move on to the time of `row`: reset counters of a new day or period, and spend the calls that have ended."""
        if row.day != self.day:
            self.day, self.tokens = row.day, 0
        if row.period_start != self.period:
            self.spent = self.spent if self.period == date.min else 0
            self.period, self.held, self.saving = row.period_start, 0, False
            self.taken_by.clear()
        now = row.created_at.timestamp()
        while self.open_calls and self.open_calls[0][0] <= now:
            _, period, nano = heappop(self.open_calls)
            if period == self.period:
                self.held -= nano
                self.spent += nano

    def _first_choice(self, row: PastCall) -> str | None:
        """The model the request would be routed to; `None` if the tier has none for it."""
        recorded = row.model_preferred or row.model
        route = read_route(row.route)
        if route is None:
            return recorded
        if route.chosen is Chosen.DEFAULT:
            return self.policy.default_model or recorded
        complexity = route.chosen.complexity
        if complexity is None:
            return recorded
        return self.policy.routes.get(self._complexity(row, complexity))

    def _complexity(self, row: PastCall, recorded: Complexity) -> Complexity:
        rules = self.simulated.rules
        if rules is None:
            return recorded
        if row.text_bytes is None:
            self.found.unjudged += 1
            return recorded
        ask = Ask(
            model=None,
            max_tokens=0,
            min_output_tokens=0,
            stream=False,
            input_bound_tokens=0,
            text_bytes=row.text_bytes,
            message_count=row.message_count or 0,
            tool_count=row.tool_count or 0,
            system_text=row.keyword,
        )
        return Complexity.COMPLEX if why_complex(ask, rules) else Complexity.SIMPLE

    def _rungs(self, row: PastCall) -> list[Rung]:
        """The ladder with the call's cost on each rung; empty if the tenant may not use the first choice."""
        models, first = self.policy.models, self._first_choice(row)
        as_recorded = first == (row.model_preferred or row.model)
        if first is None or (first not in models and not as_recorded):
            return []
        ladder = [model.name for model in ladder_from(models[first], models)] if first in models else [first]
        if as_recorded and Change.DOWNGRADED not in row.route:
            ladder[0] = row.model  # another model that served it then, as a fallback for example, would again
        return [Rung(name, self._cost(row, name), number > 0) for number, name in enumerate(ladder)]

    def _first_that_fits(self, row: PastCall, rungs: Sequence[Rung], *, saving: bool) -> Rung | None:
        """The rung that serves: the last while cheaper ones are preferred, else the first that fits the budget."""
        room = self._room(row)
        for rung in rungs[-1:] if saving else rungs:
            if room is None or rung.nano <= max(room, 0):
                return rung
        return None

    def _room(self, row: PastCall) -> int | None:
        """What the tightest budget has left, in nano-USD; `None` if no budget limits the call."""
        rooms = []
        if self.budget is not None:
            rooms.append(self.budget - self.spent - self.held)
        if row.end_user and self.policy.user_monthly_budget_nano is not None:
            rooms.append(self.policy.user_monthly_budget_nano - self.taken_by[row.end_user])
        return min(rooms, default=None)

    def _cost(self, row: PastCall, served: str) -> NanoUSD:
        if row.status == UsageStatus.ORPHANED and served == row.model:
            return to_nano(row.cost_usd)  # it was charged its hold, since its usage is unknown
        usage = row.usage
        try:
            price = self.simulated.prices.price_of(
                served,
                at=self.simulated.priced_at or row.created_at,
                context=usage.total_tokens - usage.output_tokens,
            )
        except ModelNotPriced:
            return to_nano(row.cost_usd)
        return with_margin(cost(usage, price), self.policy.margin_percent)

    def _limit_reached(self, row: PastCall) -> str:
        """The code of the first limit besides budgets that is reached, in the meter's order; empty if none is."""
        policy, now = self.policy, row.created_at.timestamp()
        if _full(self.minute, policy.requests_per_minute, now):
            return "rate_limited"
        user = self.minutes.setdefault(row.end_user, deque()) if row.end_user else deque()
        if row.end_user and _full(user, policy.user_requests_per_minute, now):
            return "user_rate_limited"
        if policy.concurrency is not None and len(self.open_calls) >= policy.concurrency:
            return "concurrency_limited"
        if policy.tokens_per_day is not None and self.tokens >= policy.tokens_per_day:
            return "daily_tokens_exceeded"
        return ""

    def _admitted(self, row: PastCall, nano: NanoUSD) -> None:
        now = row.created_at.timestamp()
        self.minute.append(now)
        if row.end_user:
            self.taken_by[row.end_user] += nano
            if self.policy.user_requests_per_minute is not None:
                self.minutes[row.end_user].append(now)
        heappush(self.open_calls, (now + (row.latency_ms or 0) / 1000, row.period_start, nano))
        self.tokens += row.usage.total_tokens
        self.held += nano


def _full(window: deque[float], limit: int | None, now: float) -> bool:
    while window and window[0] <= now - MINUTE:
        window.popleft()
    return limit is not None and len(window) >= limit
