"""Relay an SSE answer: pass its bytes on as they come, read its usage meanwhile, and settle before the last bytes."""

import asyncio
import logging
from collections.abc import AsyncGenerator

from billing.meter.errors import BudgetExceeded, MeteringUnavailable
from billing.models import UsageStatus
from gateway_project.ground.errors import TenantryError
from proxy.pipeline import settling
from proxy.pipeline.admitted import AdmittedCall
from proxy.pipeline.answers import Answer, passed_on
from proxy.pipeline.caller import GatewayStopping
from proxy.upstream.client import UpstreamAnswer, UpstreamUnavailable

logger = logging.getLogger("tenantry.proxy")
PATIENCE_SECONDS = (0.2, 0.5, 1, 2, 3)


class TruncatedStream(TenantryError):
    """The upstream closed the connection without the event that ends a stream."""

    code = "upstream_unavailable"

    def __init__(self) -> None:
        super().__init__("The upstream ended the stream before it was complete.")


class Relay:
    """Relays one stream. When the answer is closed it is settled as far as it got, even if it was never started."""

    def __init__(self, answer: UpstreamAnswer, admitted: AdmittedCall) -> None:
        self._answer = answer
        self._admitted = admitted
        self._meter = admitted.call.dialect.stream_meter(admitted.plan.parsed)

    def answer(self) -> Answer:
        headers = passed_on(self._answer, self._admitted)
        # nginx would buffer the stream, and caches might store it.
        headers += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        return Answer(status=self._answer.status, headers=headers, pieces=self._pieces(), close=self._close)

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        admitted, hold, meter = self._admitted, self._admitted.hold, self._meter
        failure: TenantryError | None = None
        try:
            async for piece in self._answer:
                if admitted.ttft_ms is None:
                    admitted.ttft_ms = admitted.call.elapsed_ms()
                passed = meter.feed(piece)
                if meter.finished:
                    await self._complete()
                elif not admitted.settled and not hold.pays_for(meter.output_at_most):
                    await self._extend_hold()
                if passed:
                    yield passed
            passed = meter.end()
            if meter.finished:
                await self._complete()
            if passed:
                yield passed
        except UpstreamUnavailable as error:
            failure = error
        except (BudgetExceeded, MeteringUnavailable) as error:
            # This piece is not passed on, since it may not be paid for.
            self._end(UsageStatus.CANCELLED, f"cut off: {error.code}")
            self._admitted.call.runtime.background.keep(self._answer.close())
            failure = error
        except asyncio.CancelledError:
            if not admitted.call.client.was_cut():
                raise
            failure = self._cut(GatewayStopping())
        except GatewayStopping as error:
            failure = self._cut(error)
        if meter.finished or (admitted.settled and failure is None):
            return
        if not meter.error_seen:
            failure = failure or TruncatedStream()
        self._end(UsageStatus.UPSTREAM_ERROR, "the stream was interrupted")
        await settling.on_its_way(self._admitted)
        if failure is not None:
            # A blank line first, since the last piece may have ended in the middle of an event.
            yield b"\n\n" + admitted.call.dialect.error_event(failure, admitted.call.request_id)

    async def _complete(self) -> None:
        if not self._admitted.settled:
            meter = self._meter
            settling.complete(
                self._admitted,
                meter.reading(),
                http_status=self._answer.status,
                written=meter.output_so_far,
            )
            await settling.on_its_way(self._admitted)

    async def _extend_hold(self) -> None:
        """Extend the hold to cover what has come. While Redis is away the stream pauses, for a while."""
        for seconds in PATIENCE_SECONDS:
            try:
                await self._admitted.hold.covers(
                    self._admitted.call.runtime.meter, self._meter.output_at_most
                )
            except MeteringUnavailable:
                await asyncio.sleep(seconds)
            else:
                return
        await self._admitted.hold.covers(self._admitted.call.runtime.meter, self._meter.output_at_most)

    def _close(self) -> None:
        """Settle the call as cancelled unless it is settled, and close the upstream's answer."""
        self._end(UsageStatus.CANCELLED, f"{self._admitted.call.client.why_over} mid-stream")
        self._admitted.call.runtime.background.keep(self._answer.close())

    def _cut(self, error: GatewayStopping) -> GatewayStopping:
        self._close()
        return error

    def _end(self, status: UsageStatus, note: str) -> None:
        meter = self._meter
        settling.broken_off(
            self._admitted,
            meter.reading(),
            http_status=self._answer.status,
            written=meter.output_so_far,
            status=status,
            note=note,
        )
