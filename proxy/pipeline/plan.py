"""What a call asks for and may be served by: before it is admitted, and for calls that never are."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import msgspec
from django.db import DatabaseError, close_old_connections

from billing.ledger import refusal_counts
from billing.meter.lease import PricedCandidate, RequestMetadata
from billing.prices.price_book import PriceBook, known_price_book, price_book
from gateway_project.ground.errors import TenantryError
from proxy.dialects import ANTHROPIC
from proxy.dialects.base import ParsedRequest
from proxy.pipeline.call import Call
from proxy.pipeline.offers import offers_for
from routing.candidates import candidates_for
from routing.choice import AUTOMATICALLY
from routing.complexity import keyword_in
from tenants.authentication import PolicyUnavailable
from tenants.policy import Policy, Principal

_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="prices")


class Plan(msgspec.Struct, frozen=True):
    """A call before it is admitted: who asks, what for, and what it may be served by at which price."""

    principal: Principal
    parsed: ParsedRequest
    prices: PriceBook
    offers: list[PricedCandidate]
    billed: bool = True


def parsed_of(call: Call, principal: Principal, *, counting: bool = False) -> ParsedRequest:
    """The body in its dialect. Raises InvalidRequest."""
    try:
        if counting:
            return ANTHROPIC.parse(call.body, call.headers, counting=True)
        return call.dialect.parse(call.body, call.headers)
    except TenantryError as error:
        refusal_counts.refused(principal.policy, error.code)
        raise


async def plan_of(call: Call, parsed: ParsedRequest, principal: Principal, *, billed: bool) -> Plan:
    """Candidates and their prices. Raises ModelNotAllowed, ModelNotPriced, InvalidRequest."""
    prices = await prices_of(principal.policy)
    may_downgrade = call.headers.get("x-tenantry-no-downgrade") != "1"
    return plan_by(principal, parsed, prices, may_downgrade=may_downgrade, billed=billed)


def plan_by(
    principal: Principal,
    parsed: ParsedRequest,
    prices: PriceBook,
    *,
    may_downgrade: bool = True,
    billed: bool = True,
) -> Plan:
    """`plan_of` a request that did not come over the wire."""
    policy = principal.policy
    candidates = candidates_for(
        parsed.ask,
        models=policy.models,
        routes=policy.routes,
        rules=policy.rules,
        default_model=policy.default_model,
        downgrade_percent=policy.downgrade_percent,
    )
    offers = offers_for(parsed, candidates, policy=policy, prices=prices, billed=billed)
    if not may_downgrade:
        # Refused where others are served by a cheaper model: passed over there, with nothing below.
        offers = offers[:1]
    return Plan(principal=principal, parsed=parsed, prices=prices, offers=offers, billed=billed)


def metadata_of(call: Call, plan: Plan) -> RequestMetadata:
    """What the ledger row needs and only the request knows."""
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


async def prices_of(policy: Policy) -> PriceBook:
    """The price list in force under `policy`; read in a thread where this process does not have it."""
    token = policy.version.everyone
    known = known_price_book(token)
    if known is not None:
        return known
    return await asyncio.get_running_loop().run_in_executor(_threads, _read_prices, token)


def _read_prices(token: str) -> PriceBook:
    close_old_connections()
    try:
        return price_book(token)
    except DatabaseError as error:
        raise PolicyUnavailable from error
    finally:
        close_old_connections()
