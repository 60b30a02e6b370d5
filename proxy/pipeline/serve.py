"""The way of a request: authenticate, parse, route, admit, forward, settle, answer."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

import msgspec
from django.db import DatabaseError, close_old_connections

from billing import meter
from billing.ledger import refusal_counts
from billing.meter import StalePolicy
from billing.meter.lease import Facts, Offer
from billing.prices.price_book import ModelNotPriced, PriceBook, known_price_book, price_book
from gateway_project.ground.errors import TenantryError
from proxy.dialects import ANTHROPIC
from proxy.dialects.base import UNREADABLE, ParsedRequest
from proxy.pipeline.answers import Answer, passed_on, usd_text
from proxy.pipeline.attempts import forward
from proxy.pipeline.call import Call
from proxy.pipeline.charge import Charge
from proxy.pipeline.idempotent import idempotency_key, once
from proxy.pipeline.offers import offers_for, run_of
from proxy.pipeline.shadow import judge
from proxy.pipeline.streaming import Relay
from proxy.upstream.client import UpstreamAnswer, UpstreamTimeout, UpstreamUnavailable
from proxy.upstream.fair_share import UpstreamSaturated
from routing.candidates import AUTO, ModelNotAllowed, candidates_for
from routing.complexity import keyword_in
from tenants.authentication import KeyRefused, PolicyUnavailable, authenticate, refresh
from tenants.policy import Policy, Principal

logger = logging.getLogger("tenantry.proxy")

# Policies that change faster than they can be read would otherwise be reloaded for ever.
MOST_RELOADS = 4
_GATEWAY_TIMEOUTS = {408, 504, 522, 524}
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="prices")


class Plan(msgspec.Struct, frozen=True):
    """A call before it is admitted: who asks, what for, and what it may be served by at which price."""

    principal: Principal
    parsed: ParsedRequest
    prices: PriceBook
    offers: list[Offer]


async def serve(call: Call) -> Answer:
    """The answer to one call. Raises the errors of the contract's table; what was admitted is settled."""
    principal = await _authenticated(call)
    parsed = parsed_of(call, principal)
    if key := idempotency_key(call, parsed):
        # A replay passes no admission, so the policy in force is asked for here.
        principal = await current_principal(call)
        return await once(call, principal.policy.tenant_id, key, lambda: _served(call, parsed, principal))
    return await forwarded(call, await admitted(call, parsed, principal))


def parsed_of(call: Call, principal: Principal, *, counting: bool = False) -> ParsedRequest:
    """The body in its dialect. Raises InvalidRequest."""
    try:
        if counting:
            return ANTHROPIC.parse(call.body, call.headers, counting=True)
        return call.dialect.parse(call.body, call.headers)
    except TenantryError as error:
        refusal_counts.refused(principal.policy, error.code)
        raise


async def _served(call: Call, parsed: ParsedRequest, principal: Principal) -> Answer:
    return await forwarded(call, await admitted(call, parsed, principal))


async def count_tokens(call: Call) -> Answer:
    """Anthropic's token count: under every limit on requests, and free."""
    principal = await _authenticated(call)
    parsed = parsed_of(call, principal, counting=True)
    charge = await admitted(call, parsed, principal, billed=False)
    return await forwarded(call, charge)


async def _authenticated(call: Call) -> Principal:
    try:
        return await authenticate(call.headers, address=call.address)
    except KeyRefused as error:
        refusal_counts.refused(error.policy, error.code)
        raise


async def current_plan(call: Call) -> Plan:
    """The plan for a call that is not to be made, under the policy in force now."""
    principal = await current_principal(call)
    return await plan_of(call, call.dialect.parse(call.body, call.headers), principal, billed=True)


async def current_principal(call: Call) -> Principal:
    """Who calls, under the policy in force now: for what no admission confirms."""
    principal = await authenticate(call.headers, address=call.address)
    return principal if await meter.is_current(principal) else await refresh(principal, call.headers)


async def admitted(call: Call, parsed: ParsedRequest, principal: Principal, *, billed: bool = True) -> Charge:
    """The call with a lease, under the policy in force now; a refusal is counted."""
    try:
        for _ in range(MOST_RELOADS):
            try:
                plan = await plan_of(call, parsed, principal, billed=billed)
                return await _admit(call, plan, billed=billed)
            except StalePolicy:
                principal = await refresh(principal, call.headers)
            except (ModelNotAllowed, ModelNotPriced):
                # A no that no admission has confirmed may be out of date.
                if await meter.is_current(principal):
                    raise
                principal = await refresh(principal, call.headers)
        raise PolicyUnavailable
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
    return Plan(principal=principal, parsed=parsed, prices=prices, offers=offers)


def facts_of(call: Call, plan: Plan) -> Facts:
    """What the ledger row needs and only the request knows."""
    parsed, policy = plan.parsed, plan.principal.policy
    ask = parsed.ask
    automatic = plan.offers[0].candidate.why.startswith(AUTO)
    return Facts(
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


async def _admit(call: Call, plan: Plan, *, billed: bool) -> Charge:
    facts, run = facts_of(call, plan), run_of(call.headers)
    # A caller who leaves now must not leave a lease behind that nobody knows of.
    with call.client.uncut():
        admission = await meter.admit(
            plan.principal, plan.offers, request_id=call.request_id, facts=facts, run=run
        )
    judge(plan.principal.policy, plan.parsed.ask, admission)
    return Charge(
        call=call,
        parsed=plan.parsed,
        principal=plan.principal,
        prices=plan.prices,
        admission=admission,
        billed=billed,
    )


async def forwarded(call: Call, charge: Charge) -> Answer:
    """The upstream's answer, whole or as a stream; however it ends, the charge is settled."""
    if charge.drains:
        call.client.outstay()
    try:
        answer = await forward(charge)
        if answer.header(b"content-type").startswith("text/event-stream") and answer.status < 400:
            return Relay(answer, charge).answer()
        return await whole(answer, charge)
    except UpstreamUnavailable as error:
        charge.free(http_status=error.status, note="no answer" if error.reached else "")
        await charge.written()
        raise
    except UpstreamSaturated:
        charge.free(http_status=None)
        raise
    except BaseException:
        # The caller left, or a fault of ours: the upstream was called, so it is neither free nor forgotten.
        charge.unanswered()
        raise


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


async def whole(answer: UpstreamAnswer, charge: Charge) -> Answer:
    """A JSON answer: read, settled, passed on as it is."""
    try:
        body = await answer.read()
    finally:
        await answer.close()
    if answer.status >= 400:
        refused(answer, body, charge)
    else:
        reading = charge.call.dialect.usage_of(body)
        if reading.problem and not _is_json(body):
            raise UpstreamUnavailable("The upstream answered something that is not JSON.", reached=True)
        charge.ttft_ms = charge.call.elapsed_ms()
        charge.complete(reading, http_status=answer.status, written=len(body) // 3)
    await charge.written()
    ours = [(b"x-tenantry-cost-usd", usd_text(charge.cost_nano))]
    if answer.status >= 400:
        # Its body is the upstream's own: this tells its 429, say, from one of the tenant's limits.
        ours.append((b"x-tenantry-error-source", b"upstream"))
    headers = passed_on(answer, charge, *ours)
    return Answer(status=answer.status, headers=headers, body=body)


def refused(answer: UpstreamAnswer, body: bytes, charge: Charge) -> None:
    """Settle a call that the upstream refused: free. Raises where its answer is not the caller's to see."""
    charge.free(http_status=answer.status)
    if answer.status == 401:
        # The gateway's own key: as it is, it would read as if the caller's were wrong.
        logger.error("The upstream refused the gateway's key", extra={"request_id": charge.call.request_id})
        raise UpstreamUnavailable("The gateway is not authorised upstream; we have been told.", reached=True)
    if not _is_json(body):
        logger.warning("The upstream answered %s without JSON", answer.status)
        kind = UpstreamTimeout if answer.status in _GATEWAY_TIMEOUTS else UpstreamUnavailable
        raise kind(f"The upstream is not available right now ({answer.status}).", reached=True)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except UNREADABLE:
        return False
    return True
