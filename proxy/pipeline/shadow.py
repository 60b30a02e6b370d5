"""What limits and routes in shadow would have done with an admitted call."""

import logging
from collections.abc import Iterator

from billing.ledger.refusal_counts import RefusalCounts
from billing.meter.admission import Admission
from gateway_project.ground.money import spend_at
from routing.candidates import AUTO, ModelNotAllowed, candidates_for
from routing.choice import Ask
from tenants.policy import BudgetMode, Policy, Shadow

logger = logging.getLogger("tenantry.proxy")


def judge(policy: Policy, ask: Ask, admission: Admission, refusals: RefusalCounts) -> None:
    """Count what the policy in shadow would have done differently.

    Its requests per minute have a window of their own in Redis. Its other limits are compared with the counters in
    force, which include the calls that it would have refused.
    """
    if policy.shadow is None:
        return
    try:
        code = _refusal(policy, policy.shadow, admission)
        if code:
            refusals.would_have(policy, code)
            return
        for verdict, model in _rerouted(policy, policy.shadow, ask, admission):
            refusals.would_have(policy, verdict, model)
    except Exception:
        # The call is admitted. A mere count must not keep it from being served and settled.
        logger.exception("What is in shadow could not be evaluated")


def _refusal(policy: Policy, shadow: Shadow, admission: Admission) -> str:
    if admission.over_shadow:
        return "rate_limited"
    if shadow.concurrency is not None and admission.open_calls >= shadow.concurrency:
        return "concurrency_limited"
    tokens = admission.tokens_used - admission.lease.held_tokens
    if shadow.tokens_per_day is not None and tokens >= shadow.tokens_per_day:
        return "daily_tokens_exceeded"
    budget = shadow.monthly_budget_nano
    if budget is None or policy.budget_mode is not BudgetMode.HARD:
        return ""
    return "budget_exceeded" if admission.spent_nano + admission.held_nano > budget else ""


def _rerouted(policy: Policy, shadow: Shadow, ask: Ask, admission: Admission) -> Iterator[tuple[str, str]]:
    served = admission.lease.offer.candidate
    if ask.model == AUTO or (not ask.model and not policy.default_model):
        try:
            [first, *_] = candidates_for(
                ask,
                models=policy.models,
                routes=shadow.routes,
                rules=shadow.rules,
                default_model=policy.default_model,
                downgrade_percent=shadow.downgrade_percent,
            )
        except ModelNotAllowed:
            yield "model_not_allowed", ""
            return
        if first.model.name != _first(admission):
            yield "rerouted", first.model.name
    budget = shadow.monthly_budget_nano
    if budget is None or policy.budget_mode is not BudgetMode.HARD or admission.saving:
        return
    if served.model.downgrade_to in policy.models and admission.spent_nano >= spend_at(
        shadow.downgrade_percent, budget
    ):
        yield "downgraded", served.model.downgrade_to or ""


def _first(admission: Admission) -> str:
    event = admission.lease.event
    return event.model_preferred or event.model
