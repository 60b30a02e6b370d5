"""What a call asks for and which models may serve it, before it is admitted, or without that."""

import msgspec

from billing.meter.lease import PricedCandidate, RequestMetadata
from billing.meter.output_sizes import OutputSizes
from billing.prices.price_book import PriceBook
from gateway_project.ground.errors import TenantryError
from proxy.dialects import ANTHROPIC
from proxy.dialects.base import ParsedRequest
from proxy.pipeline.call import Call
from proxy.pipeline.offers import priced_candidates, usable
from routing.candidates import ModelNotAllowed, candidates_for
from routing.choice import AUTOMATICALLY
from routing.complexity import keyword_in
from tenants.policy import Principal


class Plan(msgspec.Struct, frozen=True):
    """A call before it is admitted: who asks, for what, and the models that may serve it with their prices."""

    principal: Principal
    parsed: ParsedRequest
    prices: PriceBook
    offers: list[PricedCandidate]
    billed: bool = True


def parse(call: Call, principal: Principal, *, counting: bool = False) -> ParsedRequest:
    """Parse the body in its dialect. Raises InvalidRequest, which is counted as a refusal."""
    try:
        if counting:
            return ANTHROPIC.parse(call.body, call.headers, counting=True)
        return call.dialect.parse(call.body, call.headers)
    except TenantryError as error:
        call.runtime.refusals.refused(principal.policy, error.code)
        raise


async def plan_of(call: Call, parsed: ParsedRequest, principal: Principal, *, billed: bool) -> Plan:
    """Find the candidates and their prices. Raises ModelNotAllowed, ModelNotPriced, InvalidRequest."""
    prices = await call.runtime.prices.of(principal.policy)
    may_downgrade = call.headers.get("x-tenantry-no-downgrade") != "1"
    sizes = call.runtime.output_sizes
    return plan_by(principal, parsed, prices, sizes, may_downgrade=may_downgrade, billed=billed)


def plan_by(
    principal: Principal,
    parsed: ParsedRequest,
    prices: PriceBook,
    sizes: OutputSizes,
    *,
    may_downgrade: bool = True,
    billed: bool = True,
) -> Plan:
    """`plan_of` with a price list at hand, also for requests that did not come over the wire."""
    policy = principal.policy
    try:
        candidates = candidates_for(
            parsed.ask,
            models=policy.models,
            routes=policy.routes,
            rules=policy.rules,
            default_model=policy.default_model,
            downgrade_percent=policy.downgrade_percent,
        )
    except ModelNotAllowed as error:
        raise ModelNotAllowed(error.model, usable(parsed, policy=policy, prices=prices)) from None
    offers = priced_candidates(parsed, candidates, policy=policy, prices=prices, sizes=sizes, billed=billed)
    if not may_downgrade:
        # With nothing below it, the first one is refused where a cheaper model would serve other callers.
        offers = offers[:1]
    return Plan(principal=principal, parsed=parsed, prices=prices, offers=offers, billed=billed)


def metadata_of(call: Call, plan: Plan) -> RequestMetadata:
    """What the ledger row needs that only the request knows."""
    parsed, policy = plan.parsed, plan.principal.policy
    ask = parsed.ask
    automatic = plan.offers[0].candidate.route.chosen in AUTOMATICALLY
    return RequestMetadata(
        wire=call.dialect.name,
        model_requested=(ask.model or "")[:100],
        stream=ask.stream,
        end_user=ask.end_user,
        session=ask.session,
        tags=parsed.tags,
        opening=ask.opening,
        text_bytes=ask.text_bytes,
        message_count=ask.message_count,
        tool_count=ask.tool_count,
        keyword=keyword_in(ask, policy.tried_rules) if automatic else "",
    )
