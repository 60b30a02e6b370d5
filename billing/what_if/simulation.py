"""Limits and routes while recorded calls are played in the order of time: the meter's rules without Redis."""

from collections import Counter, deque
from datetime import date, datetime
from decimal import Decimal
from heapq import heappop, heappush

import msgspec

from billing.models.usage_record import UsageStatus
from billing.prices.price_book import ModelNotPriced, PriceBook, cost, with_margin
from billing.usage import Usage
from gateway_project.ground.money import spend_at, to_nano
from routing.choice import Ask, Change, Chosen, Complexity, ComplexityRules, read_route
from routing.complexity import why_complex
from tenants.policy import BudgetMode, Policy

MINUTE = 60.0


class SimulatedPolicy(msgspec.Struct, frozen=True):
    """What usage is played under. `rules` None: as complex as it was; `priced_at` None: at the call's own time."""

    policy: Policy
    prices: PriceBook
    rules: ComplexityRules | None = None
    priced_at: datetime | None = None


class Move(msgspec.Struct):
    """Calls that one model served and another would have."""

    served_by: str
    would_be: str
    calls: int = 0
    recorded_nano: int = 0
    would_nano: int = 0


class SimulationOutcome(msgspec.Struct):
    """The outcome. Money in nano-USD; `would_nano` is of the calls that are not refused.

    `played_from` is later than asked for where only the latest calls were played; `left_out` says how many were not.
    `unjudged`: calls whose complexity stayed as it was, since the ledger does not know what it was judged by.
    """

    tenant: str
    since: datetime
    until: datetime
    played_from: datetime
    left_out: int = 0
    calls: int = 0
    recorded_nano: int = 0
    would_nano: int = 0
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    refused_nano: int = 0
    downgraded: int = 0
    would_downgrade: int = 0
    unjudged: int = 0
    moves: dict[tuple[str, str], Move] = msgspec.field(default_factory=dict)

    @property
    def difference_nano(self) -> int:
        """How much more would be charged."""
        return self.would_nano - self.recorded_nano

    @property
    def refused_calls(self) -> int:
        return sum(self.refused.values())


class PastCall(msgspec.Struct, frozen=True):
    """The part of a ledger row that is played; the fields are the ledger's columns."""

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
        return Usage(
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            self.cache_write_5m_tokens,
            self.cache_write_1h_tokens,
            self.web_searches,
        )


class Choice(msgspec.Struct, frozen=True):
    """The model that would serve, and whether in place of a dearer one."""

    model: str
    downgraded: bool = False


class Simulation:
    """Windows and counters; `play` takes one call after the other. `spent_nano`: in the first call's period."""

    def __init__(self, simulated: SimulatedPolicy, found: SimulationOutcome, *, spent_nano: int) -> None:
        self.simulated, self.policy, self.found = simulated, simulated.policy, found
        self.minute: deque[float] = deque()
        self.minutes: dict[str, deque[float]] = {}
        self.open_until: list[float] = []
        self.day, self.tokens = date.min, 0
        self.period, self.spent = date.min, spent_nano
        self.spent_by: Counter[str] = Counter()
        hard = self.policy.budget_mode is BudgetMode.HARD
        self.budget = self.policy.monthly_budget_nano if hard else None

    def play(self, row: PastCall) -> None:
        found = self.found
        recorded = to_nano(row.cost_usd)
        found.calls += 1
        found.recorded_nano += recorded
        found.downgraded += Change.DOWNGRADED in row.route
        self._turn(row)
        choice = self._choice(row)
        would = self._cost(row, choice.model) if choice else recorded
        refusal = self._refusal(row, would) if choice else "model_not_allowed"
        if choice is None or refusal:
            found.refused[refusal] = found.refused.get(refusal, 0) + 1
            found.refused_nano += recorded
            return
        self._admitted(row, would)
        found.would_nano += would
        found.would_downgrade += choice.downgraded
        if choice.model != row.model or would != recorded:
            move = found.moves.setdefault((row.model, choice.model), Move(row.model, choice.model))
            move.calls += 1
            move.recorded_nano += recorded
            move.would_nano += would

    def _turn(self, row: PastCall) -> None:
        """Another day, another period: counters start anew."""
        if row.day != self.day:
            self.day, self.tokens = row.day, 0
        if row.period_start != self.period:
            self.spent = self.spent if self.period == date.min else 0
            self.period = row.period_start
            self.spent_by.clear()

    def _first_choice(self, row: PastCall) -> str | None:
        """What the request would be routed to; None where the tier names no model for it."""
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

    def _choice(self, row: PastCall) -> Choice | None:
        """The model that serves; None where the tenant may not use the first choice."""
        models, first = self.policy.models, self._first_choice(row)
        as_recorded = first == (row.model_preferred or row.model)
        if first is None or (first not in models and not as_recorded):
            return None
        if self.budget is not None and self.spent >= spend_at(self.policy.downgrade_percent, self.budget):
            cheapest, seen = first, {first}
            while cheapest in models and (cheaper := models[cheapest].downgrade_to) in models:
                if cheaper in seen or cheaper is None:
                    break
                seen.add(cheaper)
                cheapest = cheaper
            if cheapest != first:
                return Choice(cheapest, downgraded=True)
        # Who else served it then, as a fallback say, would again.
        return Choice(row.model if as_recorded and Change.DOWNGRADED not in row.route else first)

    def _cost(self, row: PastCall, served: str) -> int:
        if row.status == UsageStatus.ORPHANED and served == row.model:
            return to_nano(row.cost_usd)  # it was charged what it held; what it used nobody knows
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

    def _refusal(self, row: PastCall, would: int) -> str:
        """The code of the first limit that is reached, in the meter's order; empty: none."""
        policy, now = self.policy, row.created_at.timestamp()
        if _full(self.minute, policy.requests_per_minute, now):
            return "rate_limited"
        user = self.minutes.setdefault(row.end_user, deque()) if row.end_user else deque()
        if _full(user, policy.user_requests_per_minute, now):
            return "user_rate_limited"
        while self.open_until and self.open_until[0] <= now:
            heappop(self.open_until)
        if policy.concurrency is not None and len(self.open_until) >= policy.concurrency:
            return "concurrency_limited"
        if policy.tokens_per_day is not None and self.tokens >= policy.tokens_per_day:
            return "daily_tokens_exceeded"
        own = policy.user_monthly_budget_nano if row.end_user else None
        over = (self.budget is not None and self.spent + would > self.budget) or (
            own is not None and self.spent_by[row.end_user] + would > own
        )
        return "budget_exceeded" if over else ""

    def _admitted(self, row: PastCall, would: int) -> None:
        now = row.created_at.timestamp()
        self.minute.append(now)
        if row.end_user:
            self.spent_by[row.end_user] += would
            if self.policy.user_requests_per_minute is not None:
                self.minutes[row.end_user].append(now)
        heappush(self.open_until, now + (row.latency_ms or 0) / 1000)
        self.tokens += row.usage.total_tokens
        self.spent += would


def _full(window: deque[float], limit: int | None, now: float) -> bool:
    while window and window[0] <= now - MINUTE:
        window.popleft()
    return limit is not None and len(window) >= limit
