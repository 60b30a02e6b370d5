"""The way of a request: authenticate, parse, route, admit, forward, settle, answer."""

import logging

import msgspec

from billing import meter
from billing.ledger import refusal_counts
from billing.meter import StalePolicy
from billing.prices.price_book import ModelNotPriced
from gateway_project.ground.errors import TenantryError
from proxy.dialects.base import UNREADABLE, ParsedRequest
from proxy.pipeline.answers import Answer, passed_on, usd_text
from proxy.pipeline.attempts import forward
from proxy.pipeline.call import Call
from proxy.pipeline.charge import Charge
from proxy.pipeline.idempotent import idempotency_key, once
from proxy.pipeline.offers import run_of
from proxy.pipeline.plan import Plan, metadata_of, parsed_of, plan_of
from proxy.pipeline.shadow import judge
from proxy.pipeline.streaming import Relay
from proxy.upstream.client import UpstreamAnswer, UpstreamTimeout, UpstreamUnavailable
from proxy.upstream.fair_share import UpstreamSaturated
from routing.candidates import ModelNotAllowed
from tenants.authentication import KeyRefused, PolicyUnavailable, authenticate, refresh
from tenants.policy import Principal

logger = logging.getLogger("tenantry.proxy")

# Policies that change faster than they can be read would otherwise be reloaded for ever.
MOST_RELOADS = 4
_GATEWAY_TIMEOUTS = {408, 504, 522, 524}


async def serve(call: Call) -> Answer:
    """The answer to one call. Raises the errors of the contract's table; what was admitted is settled."""
    principal = await _authenticated(call)
    parsed = parsed_of(call, principal)
    if key := idempotency_key(call, parsed):
        # A replay passes no admission, so the policy in force is asked for here.
        principal = await current_principal(call)
        return await once(call, principal.policy.tenant_id, key, lambda: _served(call, parsed, principal))
    return await forwarded(call, await admitted(call, parsed, principal))


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


async def _admit(call: Call, plan: Plan, *, billed: bool) -> Charge:
    metadata, run = metadata_of(call, plan), run_of(call.headers)
    # A caller who leaves now must not leave a lease behind that nobody knows of.
    with call.client.uncut():
        admission = await meter.admit(
            plan.principal, plan.offers, request_id=call.request_id, metadata=metadata, run=run
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
