"""An SSE answer on its way through: bytes as they come, usage read beside them, settled before the last."""

import logging
from collections.abc import AsyncIterator

from django.http import HttpResponseBase, StreamingHttpResponse

from gateway_project.errors import TenantryError
from proxy.answers import passed_on
from proxy.background import keep
from proxy.charge import Charge
from proxy.upstream import UpstreamAnswer, UpstreamUnavailable

logger = logging.getLogger("tenantry.proxy")


class TruncatedStream(TenantryError):
    """The upstream closed without the event that ends a stream."""

    def __init__(self) -> None:
        super().__init__("The upstream ended the stream before it was complete.")


class Relay:
    """One stream. `close()` settles it wherever it stands; Django calls it when the response is done with."""

    def __init__(self, answer: UpstreamAnswer, charge: Charge) -> None:
        self._answer = answer
        self._charge = charge
        self._meter = charge.call.dialect.stream_meter(charge.parsed)

    def response(self) -> HttpResponseBase:
        response = StreamingHttpResponse(self, status=self._answer.status)
        passed_on(response, self._answer, self._charge)
        response.headers["cache-control"] = "no-cache"
        response.headers["x-accel-buffering"] = "no"  # nginx would hold the stream back
        return response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        charge, meter = self._charge, self._meter
        failure: TenantryError | None = None
        try:
            async for piece in self._answer.chunks():
                if charge.ttft_ms is None:
                    charge.ttft_ms = charge.call.elapsed_ms()
                passed = meter.feed(piece)
                if meter.finished and not charge.settled:
                    charge.complete(
                        meter.reading(), http_status=self._answer.status, written=meter.output_so_far
                    )
                    await charge.written()
                if passed:
                    yield passed
        except UpstreamUnavailable as error:
            failure = error
        if charge.settled:
            return
        if not meter.error_seen:
            failure = failure or TruncatedStream()
        self._end("upstream_error", "the stream broke off")
        await charge.written()
        if failure is not None:
            # A blank line first: the piece before may have ended in the middle of an event.
            yield b"\n\n" + charge.call.dialect.error_event(failure, charge.call.request_id)

    def close(self) -> None:
        """Settle as cancelled what is not settled yet, and let the upstream call go."""
        self._end("cancelled", "caller left in mid-stream")
        keep(self._answer.close())

    def _end(self, status: str, note: str) -> None:
        meter = self._meter
        self._charge.broken_off(
            meter.reading(),
            http_status=self._answer.status,
            written=meter.output_so_far,
            status=status,
            note=note,
        )
