"""The path of a request: authenticate, parse, route, admit, forward, settle, answer."""

from billing.meter.meter import StalePolicy
from billing.prices.price_book import ModelNotPriced
from gateway_project.ground.errors import TenantryError
from proxy.dialects.base import ParsedRequest
from proxy.pipeline.admitted import AdmittedCall
from proxy.pipeline.answers import Answer
from proxy.pipeline.attempts import forward
from proxy.pipeline.call import Call
from proxy.pipeline.hold import Hold
from proxy.pipeline.idempotent import idempotency_key, once
from proxy.pipeline.offers import run_of
from proxy.pipeline.plan import Plan, metadata_of, parse, plan_of
from proxy.pipeline.settling import settled
from proxy.pipeline.shadow import judge
from proxy.pipeline.streaming import Relay
from proxy.pipeline.whole import whole
from proxy.upstream.client import UpstreamAnswer
from routing.candidates import ModelNotAllowed
from tenants.authentication import KeyRefused, PolicyUnavailable
from tenants.policy import Principal

# Otherwise a policy that changes faster than it can be read would be reloaded for ever.
MOST_RELOADS = 4


async def serve(call: Call) -> Answer:
    """The answer to one call. Raises the errors of the contract's table. An admitted call is always settled."""
    principal = await authenticate(call)
    parsed = parse(call, principal)
    if key := idempotency_key(call, parsed):
        return await _serve_once(call, parsed, key)
    plan = await route(call, parsed, principal)
    admitted = await admit(call, plan)
    async with settled(admitted):
        upstream = await forward(admitted)
        return await answer(upstream, admitted)


async def _serve_once(call: Call, parsed: ParsedRequest, key: str) -> Answer:
    """`serve` for a call with an idempotency key: replays the answer if there is one."""
    # A replay is not admitted, so the policy in force is checked here.
    principal = await current_principal(call)
    return await once(
        call, principal.policy.tenant_id, key, lambda: _served(call, parsed, principal, billed=True)
    )


async def count_tokens(call: Call) -> Answer:
    """Anthropic's token count: free, but subject to every limit on requests."""
    principal = await authenticate(call)
    parsed = parse(call, principal, counting=True)
    return await _served(call, parsed, principal, billed=False)


async def _served(call: Call, parsed: ParsedRequest, principal: Principal, *, billed: bool) -> Answer:
    """The path from `route` on, for the variants of `serve`."""
    plan = await route(call, parsed, principal, billed=billed)
    admitted = await admit(call, plan)
    async with settled(admitted):
        upstream = await forward(admitted)
        return await answer(upstream, admitted)


async def authenticate(call: Call) -> Principal:
    """Who calls. Raises the 401s and the 403 of the error table. A refused key is counted for its tenant."""
    try:
        return await call.runtime.authenticator.authenticate(call.headers, address=call.address)
    except KeyRefused as error:
        call.runtime.refusals.refused(error.policy, error.code)
        raise


async def current_plan(call: Call) -> Plan:
    """The plan of a call that will not be made, under the policy in force now."""
    principal = await current_principal(call)
    return await plan_of(call, call.dialect.parse(call.body, call.headers), principal, billed=True)


async def current_principal(call: Call) -> Principal:
    """Who calls, under the policy in force now. For requests that no admission confirms."""
    principal = await call.runtime.authenticator.authenticate(call.headers, address=call.address)
    return (
        principal
        if await call.runtime.meter.is_current(principal)
        else await call.runtime.authenticator.refresh(principal, call.headers)
    )


async def route(call: Call, parsed: ParsedRequest, principal: Principal, *, billed: bool = True) -> Plan:
    """Find the models that may serve the call, best first.

    Raises ModelNotAllowed, ModelNotPriced, InvalidRequest, PolicyUnavailable, which are counted as refusals.
    """
    try:
        for _ in range(MOST_RELOADS):
            try:
                return await plan_of(call, parsed, principal, billed=billed)
            except (ModelNotAllowed, ModelNotPriced):
                # No admission has confirmed the policy, so this refusal may be out of date.
                if await call.runtime.meter.is_current(principal):
                    raise
                principal = await call.runtime.authenticator.refresh(principal, call.headers)
        raise PolicyUnavailable
    except TenantryError as error:
        call.runtime.refusals.refused(principal.policy, error.code)
        raise


async def admit(call: Call, plan: Plan) -> AdmittedCall:
    """Give the call a lease, under the policy in force now. A `plan` that is out of date is made again.

    Raises the limits' refusals, which are counted.
    """
    for _ in range(MOST_RELOADS):
        try:
            metadata, run = metadata_of(call, plan), run_of(call.headers)
            # If the caller leaves now, no lease must stay behind that nobody knows of.
            with call.client.uncut():
                admission = await call.runtime.meter.admit(
                    plan.principal, plan.offers, request_id=call.request_id, metadata=metadata, run=run
                )
        except StalePolicy:
            pass
        except TenantryError as error:
            call.runtime.refusals.refused(plan.principal.policy, error.code)
            raise
        else:
            judge(plan.principal.policy, plan.parsed.ask, admission, call.runtime.refusals)
            unseen = plan.parsed.ask.min_output_tokens - 1
            hold = Hold(admission=admission, lease=admission.lease, unseen=unseen)
            return AdmittedCall(call=call, plan=plan, hold=hold)
        principal = await _refreshed(call, plan.principal)
        plan = await route(call, plan.parsed, principal, billed=plan.billed)
    call.runtime.refusals.refused(plan.principal.policy, PolicyUnavailable.code)
    raise PolicyUnavailable


async def _refreshed(call: Call, principal: Principal) -> Principal:
    try:
        return await call.runtime.authenticator.refresh(principal, call.headers)
    except TenantryError as error:
        call.runtime.refusals.refused(principal.policy, error.code)
        raise


async def answer(upstream: UpstreamAnswer, admitted: AdmittedCall) -> Answer:
    """Pass the upstream's answer on, whole or as a stream."""
    if upstream.header(b"content-type").startswith("text/event-stream") and upstream.status < 400:
        return Relay(upstream, admitted).answer()
    return await whole(upstream, admitted)
