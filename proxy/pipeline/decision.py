"""`POST /v1/route`: what would happen to a request. Nothing is called, reserved or charged."""

from typing import Any

from billing.meter.admission import Admission
from billing.meter.downgrades import targets_of
from billing.meter.errors import BudgetExceeded, MeteringUnavailable
from billing.meter.lease import PricedCandidate, RequestMetadata, Run
from billing.meter.limit_status import LimitStatus, limit_status
from billing.meter.meter import Meter
from billing.prices.price_book import cost, with_margin
from billing.usage import Usage
from gateway_project.ground.errors import TenantryError
from gateway_project.ground.money import to_usd
from proxy.dialects.prompt_bound import input_bound
from proxy.pipeline.call import Call
from proxy.pipeline.charge import BYTES_PER_TOKEN
from proxy.pipeline.offers import run_of
from proxy.pipeline.plan import Plan, metadata_of
from proxy.pipeline.serve import current_plan
from routing.complexity import complexity_of, why_complex
from tenants.policy import Policy


async def decide(call: Call) -> dict[str, Any]:
    """The candidates with their costs, which of them would serve, and which limits would refuse.

    Raises MeteringUnavailable, and the errors of parsing and routing.
    """
    plan = await current_plan(call)
    return await decision_on(
        call.runtime.meter, plan, metadata=metadata_of(call, plan), run=run_of(call.headers)
    )


async def decision_on(
    meter: Meter, plan: Plan, *, metadata: RequestMetadata, run: Run | None = None
) -> dict[str, Any]:
    """What would happen to `plan` now. The meter decides, by the script that admits. Raises MeteringUnavailable."""
    ask, policy = plan.parsed.ask, plan.principal.policy
    now = await limit_status(meter, plan.principal, end_user=ask.end_user, run=run)
    refusals = _refusals(policy, plan.principal.key.requests_per_minute, now)
    admission, refusal = None, None
    try:
        admission = await meter.would_admit(plan.principal, plan.offers, metadata=metadata, run=run)
    except MeteringUnavailable:
        raise
    except TenantryError as error:
        refusal = error
        if error.code not in refusals:
            refusals.append(error.code)
    return {
        "model_requested": ask.model,
        "complexity": complexity_of(ask, policy.rules).value,
        "complexity_reason": why_complex(ask, policy.rules) or None,
        "candidates": [_candidate(plan, offer) for offer in plan.offers],
        "would_serve": _served(admission) if admission and not refusals else None,
        "would_refuse": refusals,
        "refusal": {"message": refusal.message, **_scope(refusal)} if refusal else None,
        "downgrade": downgrade_of(policy, now),
    }


def downgrade_of(policy: Policy, now: LimitStatus) -> dict[str, Any]:
    """The downgrade policy as the tenant sees it: thresholds, targets, and whether it is active."""
    return {
        "active": now.saving,
        "from_percent_of_budget": policy.downgrade_percent,
        "until_below_percent_of_budget": policy.downgrade_release_percent,
        "targets": targets_of(policy),
    }


def _served(admission: Admission) -> dict[str, Any]:
    lease = admission.lease
    return {
        "model": lease.offer.candidate.model.name,
        "route": admission.route.text,
        "max_tokens": lease.max_tokens,
        "would_hold_usd": to_usd(lease.hold_nano),
    }


def _scope(refusal: TenantryError) -> dict[str, Any]:
    return {"scope": refusal.details["scope"]} if isinstance(refusal, BudgetExceeded) else {}


def _candidate(plan: Plan, offer: PricedCandidate) -> dict[str, Any]:
    """One candidate. `worst_case_usd` is at most what would be held; the estimate is of the prompt alone."""
    ask, policy = plan.parsed.ask, plan.principal.policy
    price = plan.prices.price_of(
        offer.candidate.model.name,
        context=input_bound(ask, offer.candidate.model, prompts=plan.parsed.prompts),
    )
    prompt = Usage(input_tokens=-(-ask.text_bytes // BYTES_PER_TOKEN))
    return {
        "model": offer.candidate.model.name,
        "route": offer.candidate.route.text,
        "preferred_below_percent_of_budget": offer.candidate.skip_from_percent,
        "max_tokens": offer.max_tokens,
        "estimated_input_tokens": prompt.input_tokens,
        "estimated_input_usd": to_usd(with_margin(cost(prompt, price), policy.margin_percent)),
        "usd_per_1m_output_tokens": to_usd(offer.output_nano_per_token * 1_000_000),
        "worst_case_usd": to_usd(offer.input_hold_nano + offer.output_nano_per_token * offer.max_tokens),
    }


def _refusals(policy: Policy, key_limit: int | None, now: LimitStatus) -> list[str]:
    """The codes of all limits that are reached. The meter names only the first one."""
    reached = (
        ("rate_limited", policy.requests_per_minute, now.requests_used),
        ("rate_limited", key_limit, now.key_requests_used),
        ("user_rate_limited", policy.user_requests_per_minute, now.user_requests_used),
        ("concurrency_limited", policy.concurrency, now.open_calls),
        ("daily_tokens_exceeded", policy.tokens_per_day, now.tokens_used + now.tokens_held),
    )
    return list(dict.fromkeys(code for code, limit, used in reached if limit is not None and used >= limit))
