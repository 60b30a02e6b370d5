"""`POST /v1/route`: what would become of a request. Nothing is called, reserved or charged."""

from typing import Any

from billing.lease import Offer
from billing.money import to_usd
from billing.pricing import cost, with_margin
from billing.standing import Standing, standing
from billing.usage import Usage
from proxy.call import Call
from proxy.charge import BYTES_PER_TOKEN
from proxy.offers import run_of
from proxy.serve import Plan, current_plan
from routing.complexity import complexity_of
from tenants.policy import Policy


async def decide(call: Call) -> dict[str, Any]:
    """The candidates with their cost, which of them would serve, and what would refuse."""
    plan = await current_plan(call)
    ask, policy = plan.parsed.ask, plan.principal.policy
    now = await standing(plan.principal, end_user=ask.end_user, run=run_of(call.headers))
    refusals = _refusals(policy, plan.principal.key.requests_per_minute, now)
    chosen, clamped = _chosen(plan.offers, policy, now)
    if chosen is None:
        refusals.append("budget_exceeded")
    return {
        "model_requested": ask.model,
        "complexity": complexity_of(ask, policy.rules).value,
        "candidates": [_candidate(plan, offer) for offer in plan.offers],
        "would_serve": None
        if refusals or chosen is None
        else {
            "model": chosen.candidate.model.name,
            "route": chosen.candidate.why + ("+clamped" if clamped else ""),
            "max_tokens": clamped or chosen.max_tokens,
        },
        "would_refuse": refusals,
    }


def _candidate(plan: Plan, offer: Offer) -> dict[str, Any]:
    """Worst case is what would be held; the estimate is the prompt as it probably counts, and no output."""
    ask, policy = plan.parsed.ask, plan.principal.policy
    price = plan.prices.price_of(offer.candidate.model.name, context=ask.input_bound_tokens)
    prompt = Usage(input_tokens=-(-ask.text_bytes // BYTES_PER_TOKEN))
    return {
        "model": offer.candidate.model.name,
        "route": offer.candidate.why,
        "preferred_below_percent_of_budget": offer.candidate.skip_from_percent,
        "max_tokens": offer.max_tokens,
        "estimated_input_tokens": prompt.input_tokens,
        "estimated_input_usd": to_usd(with_margin(cost(prompt, price), policy.margin_percent)),
        "usd_per_1m_output_tokens": to_usd(offer.output_nano_per_token * 1_000_000),
        "worst_case_usd": to_usd(offer.input_hold_nano + offer.output_nano_per_token * offer.max_tokens),
    }


def _refusals(policy: Policy, key_limit: int | None, now: Standing) -> list[str]:
    """The codes of the limits that are reached."""
    reached = (
        ("rate_limited", policy.requests_per_minute, now.requests_used),
        ("rate_limited", key_limit, now.key_requests_used),
        ("user_rate_limited", policy.user_requests_per_minute, now.user_requests_used),
        ("concurrency_limited", policy.concurrency, now.open_calls),
        ("daily_tokens_exceeded", policy.tokens_per_day, now.tokens_used + now.tokens_held),
    )
    return list(dict.fromkeys(code for code, limit, used in reached if limit is not None and used >= limit))


def _chosen(offers: list[Offer], policy: Policy, now: Standing) -> tuple[Offer | None, int]:
    """What `admit.lua` would take, by the same ladder, and the tokens it would clamp to (0: none)."""
    rooms = [each.room_nano for each in now.budgets if each.room_nano is not None]
    room = min(rooms, default=None)
    tenant = now.budgets[0]
    for number, offer in enumerate(offers, start=1):
        skip = offer.candidate.skip_from_percent
        passed = (
            skip is not None
            and tenant.budget_nano is not None
            and number < len(offers)
            and tenant.spent_nano * 100 >= tenant.budget_nano * skip
        )
        hold = offer.input_hold_nano + offer.output_nano_per_token * offer.held_tokens
        if not passed and (room is None or hold <= room):
            return offer, 0
    for offer in reversed(offers):
        if room is not None and offer.output_nano_per_token:
            affordable = (room - offer.input_hold_nano) // offer.output_nano_per_token
            if affordable >= max(1, offer.min_output_tokens):
                return offer, affordable
    return None, 0
