"""What all admissions of one principal in one period and day have in common, prepared once."""

import time
from weakref import WeakKeyDictionary

from billing.meter.connection.script import bulk
from billing.meter.downgrades import lines_of
from billing.meter.lease import head
from billing.meter.scripts import AdmitKeys, AdmitPolicy
from billing.meter.settlement import packed_settle_keys
from gateway_project.ground.money import spend_at
from gateway_project.ground.redis_keys import (
    PREPAID_COUNTER,
    SHADOW_WINDOW,
    TENANT_WINDOW,
    budget_counter,
    busy_key,
    conversation_name,
    day_counter,
    key_counter,
    key_window,
    leases_key,
    named_keys,
    run_counter,
    shard_key,
    shard_of,
    tenant_key,
    user_counter,
    user_window,
)
from tenants.periods import Span, day_of, period_of
from tenants.policy import BudgetMode, Policy, Principal


class PreparedPolicy:
    """The keys and arguments that all calls of one principal share in one period and day, packed once.

    Saves nine of fourteen microseconds a call.
    """

    def __init__(self, principal: Principal, period: Span, day: Span) -> None:
        policy, key = principal.policy, principal.key
        self.period, self.day = period, day
        shard = shard_of(policy.tenant_id)
        self.key_prefix, self._leases_key = tenant_key(policy.tenant_id), leases_key(policy.tenant_id)
        self._shard_key, self._busy_key = shard_key(shard), busy_key(shard)
        self.day_counter = day_counter(day.name)
        prepaid = policy.budget_mode is BudgetMode.PREPAID
        self._tenant_counter = PREPAID_COUNTER if prepaid else budget_counter(period.name)
        self._key_counter = key_counter(key.id, period.name)
        self._key_window = key_window(key.id) if key.requests_per_minute is not None else ""
        self._limits_users = policy.user_requests_per_minute is not None
        shadow_limit = policy.shadow.requests_per_minute if policy.shadow else None
        self._shadow_window = SHADOW_WINDOW if shadow_limit is not None else ""
        self.budgets = (
            None if policy.budget_mode is BudgetMode.SOFT else policy.monthly_budget_nano,
            key.monthly_budget_nano,
        )
        self.alert_lines = _alert_lines(policy)
        self.lines = lines_of(policy)
        arguments = AdmitPolicy(
            tenant_id=policy.tenant_id,
            everyones_token=policy.version.everyone,
            tenants_token=policy.version.tenant,
            period_start=period.start,
            period_end=period.end,
            day_start=day.start,
            day_end=day.end,
            tenant_rate=limit_of(policy.requests_per_minute),
            user_rate=limit_of(policy.user_requests_per_minute),
            key_rate=limit_of(key.requests_per_minute),
            concurrency=limit_of(policy.concurrency),
            daily_tokens=limit_of(policy.tokens_per_day),
            tenant_limit=limit_of(self.budgets[0]),
            key_limit=limit_of(self.budgets[1]),
            user_limit=limit_of(policy.user_monthly_budget_nano),
            saving_from=self.lines.start,
            saving_until=self.lines.end,
            shadow_rate=limit_of(shadow_limit),
        )
        self.packed_arguments = bulk(*arguments)
        # For a plain call: one without end user, run and conversation.
        self.plain_counters = self.counters("", "")
        self.plain_head = head(self.plain_counters, self.day_counter)
        self.packed_keys = pack_keys(self.keys("", "", ""))
        self.plain_settle_keys = packed_settle_keys(policy.tenant_id, self.plain_counters, self.day_counter)

    def counters(self, user: str, run: str) -> tuple[str, str, str, str]:
        """The names of the counters of tenant, key, user and run.

        A counter without a limit is kept, too: a limit set later must count the calls that are open then.
        """
        return (
            self._tenant_counter,
            self._key_counter,
            user_counter(user, self.period.name) if user else "",
            run_counter(run) if run else "",
        )

    def keys(self, user: str, run: str, conversation: str) -> AdmitKeys:
        """The keys of `admit.lua`. The tenant's own hash stands for each one that does not exist."""
        tenant_budget, key_budget, user_budget, run_budget, day = named_keys(
            self.key_prefix, (*self.counters(user, run), self.day_counter)
        )
        tenant_window, user_window_key, key_window_key, shadow_window, kept = named_keys(
            self.key_prefix,
            (
                TENANT_WINDOW,
                user_window(user) if user and self._limits_users else "",
                self._key_window,
                self._shadow_window,
                conversation_name(conversation) if conversation else "",
            ),
        )
        return AdmitKeys(
            shard=self._shard_key,
            tenant=self.key_prefix,
            leases=self._leases_key,
            tenant_window=tenant_window,
            user_window=user_window_key,
            key_window=key_window_key,
            tenant_budget=tenant_budget,
            key_budget=key_budget,
            user_budget=user_budget,
            run_budget=run_budget,
            day=day,
            busy=self._busy_key,
            conversation=kept,
            shadow_window=shadow_window,
        )


def pack_keys(keys: AdmitKeys) -> bytes:
    """`keys` as a part of the command, with their number in front."""
    return bulk(len(keys), *keys)


class PreparedPolicies:
    """The prepared policies of one process, each kept for as long as its principal is."""

    def __init__(self) -> None:
        self._prepared: WeakKeyDictionary[Principal, PreparedPolicy] = WeakKeyDictionary()
        self._spans: dict[tuple[str, int], tuple[Span, Span]] = {}

    def of(self, principal: Principal, *, at: float | None = None) -> PreparedPolicy:
        """The policy prepared for epoch second `at`, by default for now by this process's clock."""
        now = time.time() if at is None else at
        prepared = self._prepared.get(principal)
        if prepared is None or at is not None or not prepared.day.start <= now < prepared.day.end:
            prepared = PreparedPolicy(principal, *self.spans(principal.policy, at=at))
            self._prepared[principal] = prepared
        return prepared

    def spans(self, policy: Policy, at: float | None = None) -> tuple[Span, Span]:
        """The tenant's period and day at epoch second `at`, by default now. Remembered while the day lasts."""
        calendar = (policy.timezone, policy.billing_day)
        known = self._spans.get(calendar)
        now = time.time() if at is None else at
        if known is None or at is not None or not known[1].start <= now < known[1].end:
            known = (period_of(now, *calendar), day_of(now, policy.timezone))
            self._spans[calendar] = known
        return known


def _alert_lines(policy: Policy) -> str:
    """The spend at which each alert is due, as `percent:nano,…`.

    For a prepaid balance the percentages count from the last top-up: at 80 a fifth of it is left.
    """
    budget = policy.monthly_budget_nano
    counted = budget if policy.alerts_below_nano is None else policy.alerts_below_nano
    if not (budget and counted):
        return ""
    return ",".join(f"{percent}:{spend_at(percent, budget, counted)}" for percent in policy.alert_percents)


def limit_of(value: int | None) -> int:
    """A limit as the scripts take it: -1 for none."""
    return -1 if value is None else value
