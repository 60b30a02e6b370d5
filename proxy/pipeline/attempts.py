"""Forwarding with manners: one retry before the first byte, breakers, a second upstream, a fallback model.

At most one answer is ever taken, so at most one upstream call is billed to the tenant.
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
# A caller waits for a second try no longer than this; beyond, the upstream's answer says when to come back.
LONGEST_PAUSE_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 0.2


class Attempt(msgspec.Struct, frozen=True):
    """What came of one call to one upstream: an answer, or why there is none."""

    answer: UpstreamAnswer | None = None
    error: UpstreamUnavailable | None = None

    @property
    def may_be_repeated(self) -> bool:
        """Whether nothing was done upstream: it was not reached, or said that it is overloaded."""
        if self.answer is not None:
            return self.answer.status in OVERLOADED
        return self.error is not None and not self.error.reached

    def pause(self) -> float | None:
        """Seconds until a second try, as the upstream asks; `None` when that is too long to wait."""
        asked = self.answer.header(b"retry-after") if self.answer is not None else ""
        if not asked:
            return FIRST_PAUSE_SECONDS * random.uniform(0.5, 1.5)
        seconds = float(asked) if asked.isdecimal() else LONGEST_PAUSE_SECONDS + 1
        return seconds if seconds <= LONGEST_PAUSE_SECONDS else None


class BreakerOpen(UpstreamUnavailable):
    def __init__(self, model: str, seconds: float) -> None:
        super().__init__(
            f"The upstream keeps failing for {model}. Try again shortly.",
            reached=False,
            headers={"retry-after": str(max(1, round(seconds)))},
        )


async def forward(admitted: AdmittedCall) -> UpstreamAnswer:
    """The upstream's answer to the caller's own bytes, with only model and max_tokens as admitted.

    Raises UpstreamUnavailable, UpstreamTimeout, UpstreamSaturated; the call is then still to be settled.
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
    """One more attempt, at the next upstream where there is one; `None` when it would be no use."""
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
            admitted.asked = error.reached
            breaker.failed(time.monotonic())
            return Attempt(error=error)
        breaker.given_up()
        raise
    _judge(answer, breaker)
    admitted.asked = answer.status < 400
    answer.when_over(lambda: limiter.leave(policy.tenant_id, turn, throttled=answer.status in THROTTLED))
    admitted.upstream_request_id = answer.header(b"request-id") or answer.header(b"x-request-id")
    return Attempt(answer=answer)


def _judge(answer: UpstreamAnswer, breaker: Breaker) -> None:
    """5xx is a failure of the upstream's; what it refuses is an answer.

    So is 529: one call too many is the fair share limiter's business. A breaker would refuse those within their share
    as well.
    """
    if answer.status >= 500 and answer.status not in THROTTLED:
        breaker.failed(time.monotonic())
    else:
        breaker.succeeded()


def _send(admitted: AdmittedCall, target: UpstreamTarget) -> Awaitable[UpstreamAnswer]:
    """The call to the upstream, to be awaited. Not a coroutine itself: each in the chain is passed at every wait."""
    call, lease = admitted.call, admitted.hold.lease
    if admitted.sent_ms is None:
        admitted.sent_ms = (time.perf_counter() - call.started) * 1000
    admitted.asked = True
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
    """Move the lease to the model's fallback, where the tenant may use it and can pay for it."""
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
