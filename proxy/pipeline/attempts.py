"""Forward a call: one retry before the first byte, circuit breakers, a second upstream, a fallback model.

At most one answer is ever used, so at most one upstream call is billed to the tenant.
"""

import asyncio
import random
import time
from collections.abc import Awaitable

import msgspec
from django.conf import settings

from billing.meter.errors import BudgetExceeded, MeteringUnavailable
from billing.prices.price_book import ModelNotPriced
from proxy.dialects import headers as header_lists
from proxy.pipeline.admitted import AdmittedCall
from proxy.pipeline.offers import priced_candidate
from proxy.upstream.breaker import Breaker
from proxy.upstream.catalogue import UpstreamTarget
from proxy.upstream.client import UpstreamAnswer, UpstreamUnavailable
from routing.choice import Candidate, Change

OVERLOADED = {503, 529}
THROTTLED = {429, 529}
# The longest wait before a second try. If the upstream asks for more, its answer is passed on with its retry-after.
LONGEST_PAUSE_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 0.2


class Attempt(msgspec.Struct, frozen=True):
    """The result of one call to one upstream: an answer, or the error why there is none."""

    answer: UpstreamAnswer | None = None
    error: UpstreamUnavailable | None = None

    @property
    def may_be_repeated(self) -> bool:
        """Whether the upstream did nothing: it was not reached, or said that it is overloaded."""
        if self.answer is not None:
            return self.answer.status in OVERLOADED
        return self.error is not None and not self.error.reached

    def pause(self) -> float | None:
        """Seconds to wait before a second try, as the upstream asks; `None` if that is too long."""
        retry_after = self.answer.header(b"retry-after") if self.answer is not None else ""
        if not retry_after:
            return FIRST_PAUSE_SECONDS * random.uniform(0.5, 1.5)
        seconds = float(retry_after) if retry_after.isdecimal() else LONGEST_PAUSE_SECONDS + 1
        return seconds if seconds <= LONGEST_PAUSE_SECONDS else None


class BreakerOpen(UpstreamUnavailable):
    def __init__(self, model: str, seconds: float) -> None:
        super().__init__(
            f"The upstream keeps failing for {model}. Try again shortly.",
            reached=False,
            headers={"retry-after": str(max(1, round(seconds)))},
        )


async def forward(admitted: AdmittedCall) -> UpstreamAnswer:
    """The upstream's answer to the caller's own bytes, in which only model and max_tokens are changed as admitted.

    Raises UpstreamUnavailable, UpstreamTimeout, UpstreamSaturated. The call must still be settled then.
    """
    call, policy = admitted.call, admitted.plan.principal.policy
    targets = await call.runtime.targets.that_speak(call.dialect.name, policy.version.everyone)
    attempt = await _try(admitted, targets[0])
    if attempt.may_be_repeated and (again := await _second_try(admitted, targets, attempt)) is not None:
        attempt = again
    if attempt.may_be_repeated and await _fall_back(admitted):
        await _drop(attempt)
        attempt = await _try(admitted, targets[0])
    if attempt.answer is None:
        assert attempt.error is not None
        raise attempt.error
    return attempt.answer


async def _second_try(
    admitted: AdmittedCall, targets: list[UpstreamTarget], attempt: Attempt
) -> Attempt | None:
    """One more attempt, at the next upstream if there is one; `None` if it would be of no use."""
    model = admitted.hold.lease.offer.candidate.model.name
    for target in targets[1:]:
        if admitted.call.runtime.breakers.of(target.name, model).state == "closed":
            await _drop(attempt)
            return await _try(admitted, target)
    pause = attempt.pause()
    if pause is None or isinstance(attempt.error, BreakerOpen):
        return None
    await _drop(attempt)
    await asyncio.sleep(pause)
    return await _try(admitted, targets[0])


async def _drop(attempt: Attempt) -> None:
    if attempt.answer is not None:
        await attempt.answer.close()


async def _try(admitted: AdmittedCall, target: UpstreamTarget) -> Attempt:
    policy, model = admitted.plan.principal.policy, admitted.hold.lease.offer.candidate.model.name
    runtime = admitted.call.runtime
    breaker, limiter = runtime.breakers.of(target.name, model), runtime.limiters.of(target.name)
    if not breaker.lets_through(time.monotonic()):
        return Attempt(error=BreakerOpen(model, breaker.seconds_left(time.monotonic())))
    try:
        turn = await limiter.enter(policy.tenant_id, policy.upstream_weight)
    except BaseException:
        breaker.given_up()
        raise
    try:
        answer = await _send(admitted, target)
    except BaseException as error:
        limiter.leave(policy.tenant_id, turn)
        if isinstance(error, UpstreamUnavailable):
            admitted.upstream_working = error.reached
            breaker.failed(time.monotonic())
            return Attempt(error=error)
        breaker.given_up()
        raise
    _judge(answer, breaker)
    admitted.upstream_working = answer.status < 400
    answer.when_over(lambda: limiter.leave(policy.tenant_id, turn, throttled=answer.status in THROTTLED))
    admitted.upstream_request_id = answer.header(b"request-id") or answer.header(b"x-request-id")
    return Attempt(answer=answer)


def _judge(answer: UpstreamAnswer, breaker: Breaker) -> None:
    """Tell the breaker whether the upstream works: a 5xx is a failure, a refusal is an answer.

    So is 529: overload is for the fair share limiter. A breaker would also refuse tenants within their share.
    """
    if answer.status >= 500 and answer.status not in THROTTLED:
        breaker.failed(time.monotonic())
    else:
        breaker.succeeded()


def _send(admitted: AdmittedCall, target: UpstreamTarget) -> Awaitable[UpstreamAnswer]:
    """Call the upstream. Not a coroutine itself, since every coroutine in a chain costs time at each wait."""
    call, lease = admitted.call, admitted.hold.lease
    if admitted.sent_ms is None:
        admitted.sent_ms = (time.perf_counter() - call.started) * 1000
    admitted.upstream_working = True
    body = call.dialect.rewrite(
        call.body,
        admitted.plan.parsed,
        upstream_model=lease.offer.candidate.model.upstream_name,
        max_tokens=lease.max_tokens,
    )
    fields = header_lists.to_upstream(
        call.headers,
        credentials=call.dialect.credentials(target.api_key),
        tracking={
            name: template.format(tenant=lease.tenant_id, request_id=lease.request_id)
            for name, template in settings.UPSTREAM_TRACKING_HEADERS.items()
        },
        extra=target.extra_headers,
    )
    return call.runtime.upstreams.at(target.base_url).send(
        target=call.target, headers=fields, body=body, stream=admitted.plan.parsed.ask.stream
    )


async def _fall_back(admitted: AdmittedCall) -> bool:
    """Move the lease to the model's fallback. False if there is none that the tenant may use and can pay for."""
    policy, lease = admitted.plan.principal.policy, admitted.hold.lease
    model = policy.models.get(lease.offer.candidate.model.fallback_to or "")
    if model is None or not admitted.plan.billed:
        return False
    candidate = Candidate(model=model, route=admitted.hold.admission.route.then(Change.FALLBACK))
    sizes = admitted.call.runtime.output_sizes
    try:
        offer = priced_candidate(
            admitted.plan.parsed, candidate, policy=policy, prices=admitted.plan.prices, sizes=sizes
        )
        if min(offer.max_tokens, lease.max_tokens) < offer.min_output_tokens:
            return False
        needed = offer.input_hold_nano + offer.output_nano_per_token * lease.output_tokens
        await admitted.call.runtime.meter.hold_also(lease, needed - lease.hold_nano)
    except (ModelNotPriced, BudgetExceeded, MeteringUnavailable):
        return False
    admitted.hold.serve_by(offer)
    return True
