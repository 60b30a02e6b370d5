"""Settle a call once, whatever happens to the task that serves it, and whatever goes wrong while settling."""

import asyncio
import logging
from functools import partial
from itertools import chain, repeat
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from billing.meter.errors import MeteringUnavailable
from billing.meter.lease import Lease
from billing.meter.overruns import count_overrun
from billing.meter.settlement import CallOutcome
from billing.models import UsageStatus
from billing.usage import Usage
from proxy.dialects.base import UsageReading
from proxy.pipeline.admitted import AdmittedCall
from proxy.pipeline.charge import (
    FREE,
    Charge,
    Judgement,
    charged,
    charged_as_held,
    judged,
    judged_broken_off,
    judged_unanswered,
)
from proxy.upstream.client import UpstreamUnavailable
from proxy.upstream.fair_share import UpstreamSaturated
from tenants.policy import DisconnectPolicy

if TYPE_CHECKING:
    from proxy.runtime import Runtime

logger = logging.getLogger("tenantry.proxy")
RETRY_SECONDS = (0.1, 0.3, 1, 3, 5)


class settled(msgspec.Struct):
    """A context manager that settles the call if an exception leaves it. A stream is settled at its own end."""

    admitted: AdmittedCall

    async def __aenter__(self) -> None:
        if self.admitted.plan.principal.policy.disconnect is DisconnectPolicy.DRAIN:
            # Its answer is read to the end even if the caller leaves.
            self.admitted.call.client.outstay()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        if isinstance(error, UpstreamUnavailable):
            free(self.admitted, http_status=error.status, note="no response" if error.reached else "")
            await on_its_way(self.admitted)
        elif isinstance(error, UpstreamSaturated):
            free(self.admitted, http_status=None)
        else:
            # The caller left, or we failed. The upstream may have been called, so the call may not be free.
            unanswered(self.admitted)


def complete(admitted: AdmittedCall, reading: UsageReading, *, http_status: int, written: int) -> None:
    """Settle a complete answer. `written`: the output tokens to assume if its usage cannot be read."""
    judgement = judged(reading, admitted.plan.parsed, admitted.hold.lease, written=written)
    status = UsageStatus.CANCELLED if admitted.call.client.left else UsageStatus.OK
    _settle(admitted, judgement, status=status, http_status=http_status, answered_by=reading.model)


def broken_off(
    admitted: AdmittedCall,
    reading: UsageReading,
    *,
    http_status: int,
    written: int,
    status: UsageStatus,
    note: str,
) -> None:
    """Settle a stream that ended early at what is known of it, flagged as an estimate."""
    judgement = judged_broken_off(
        reading, admitted.plan.parsed, admitted.hold.lease, written=written, why=note
    )
    _settle(admitted, judgement, status=status, http_status=http_status, answered_by=reading.model)


def unanswered(admitted: AdmittedCall) -> None:
    """Settle a call that ended before anything came back: its caller left, or the gateway stops.

    It is free if it was still waiting for its turn, or between two tries, when no upstream worked on it.
    """
    judgement = FREE
    if admitted.upstream_working:
        elapsed_ms = admitted.call.elapsed_ms()
        judgement = judged_unanswered(
            admitted.plan.parsed,
            admitted.hold.lease,
            elapsed_ms=elapsed_ms,
            why=f"{admitted.call.client.why_over} before the response",
        )
    _settle(admitted, judgement, status=UsageStatus.CANCELLED, http_status=None)


def free(
    admitted: AdmittedCall,
    *,
    http_status: int | None,
    status: UsageStatus = UsageStatus.UPSTREAM_ERROR,
    note: str = "",
) -> None:
    """Settle a call that the upstream did not serve, at no cost. `note`: why that is uncertain."""
    _settle(admitted, Judgement(Usage(), note), status=status, http_status=http_status)


async def on_its_way(admitted: AdmittedCall) -> None:
    """Return once the settle has been written to Redis. Only then may the answer's last bytes go."""
    await admitted.call.runtime.meter.pipe.sent()


def _settle(
    admitted: AdmittedCall,
    judgement: Judgement,
    *,
    status: UsageStatus,
    http_status: int | None,
    answered_by: str = "",
) -> None:
    if admitted.settled:
        return
    admitted.settled = True
    plan, lease = admitted.plan, admitted.hold.lease
    if not plan.billed:
        judgement = FREE
    try:
        charge = charged(
            judgement,
            lease,
            plan.prices,
            margin_percent=plan.principal.policy.margin_percent,
            answered_by=answered_by,
        )
        _post(admitted, charge, status=status, http_status=http_status)
    except Exception:
        # A lease that is never settled would hold its budget for as long as this process lives.
        logger.exception("A call could not be priced", extra={"request_id": lease.request_id})
        _post(admitted, charged_as_held(lease), status=status, http_status=http_status)


def _post(admitted: AdmittedCall, charge: Charge, *, status: UsageStatus, http_status: int | None) -> None:
    """Send the settle. It is repeated for as long as Redis is away."""
    plan, lease, runtime = admitted.plan, admitted.hold.lease, admitted.call.runtime
    outcome = CallOutcome(
        usage=charge.usage,
        cost_nano=charge.cost_nano,
        upstream_cost_nano=charge.upstream_cost_nano,
        saved_nano=charge.saved_nano,
        status=status,
        http_status=http_status,
        model=charge.model,
        price_id=charge.price_id,
        estimated=charge.estimated,
        latency_ms=admitted.call.elapsed_ms(),
        ttft_ms=admitted.ttft_ms,
        upstream_request_id=admitted.upstream_request_id[:128],
        note=charge.note,
    )
    sent = runtime.meter.post(lease, outcome, otherwise=partial(_keep_settling, runtime, lease, outcome))
    runtime.background.wait_for(sent)
    sent.add_done_callback(partial(_count, admitted, outcome))
    admitted.cost_nano, admitted.tokens = charge.cost_nano, charge.usage.total_tokens
    if status is UsageStatus.OK and plan.parsed.ask.stream:
        runtime.output_sizes.learn(
            lease.tenant_id, lease.offer.candidate.model.name, charge.usage.output_tokens
        )
    if charge.overrun_nano:
        # Charged all the same, since it was used. Staff see it on the dashboard.
        runtime.background.keep(count_overrun(runtime.meter.pipe, lease, charge.overrun_nano))


def _count(admitted: AdmittedCall, outcome: CallOutcome, _: object) -> None:
    """Count the call once Redis has replied, so that the caller does not wait for it."""
    lease, tier, runtime = admitted.hold.lease, admitted.plan.principal.policy.tier, admitted.call.runtime
    runtime.telemetry.settled(lease, outcome, tier=tier, sent_ms=admitted.sent_ms)
    runtime.tracing.settled(lease, outcome, admitted.call.headers)


def _keep_settling(runtime: "Runtime", lease: Lease, outcome: CallOutcome) -> None:
    runtime.unsettled[lease.request_id] = (lease, outcome)
    runtime.background.keep(_settle_until_done(runtime, lease, outcome))


async def _settle_until_done(runtime: "Runtime", lease: Lease, outcome: CallOutcome) -> None:
    """Settle, and try again while Redis is away, since the reaper only settles for dead processes."""
    for seconds in chain(RETRY_SECONDS, repeat(RETRY_SECONDS[-1])):
        try:
            await runtime.meter.settle(lease, outcome)
        except MeteringUnavailable:
            await asyncio.sleep(seconds)
        else:
            del runtime.unsettled[lease.request_id]
            return
