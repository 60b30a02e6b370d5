"""Pass on a JSON answer: read to its end, settled, its body unchanged."""

import logging

import msgspec

from proxy.dialects.base import UNREADABLE
from proxy.pipeline import settling
from proxy.pipeline.admitted import AdmittedCall
from proxy.pipeline.answers import Answer, passed_on, usd_text
from proxy.upstream.client import UpstreamAnswer, UpstreamTimeout, UpstreamUnavailable

logger = logging.getLogger("tenantry.proxy")
_GATEWAY_TIMEOUTS = {408, 504, 522, 524}


async def whole(answer: UpstreamAnswer, admitted: AdmittedCall) -> Answer:
    """Read the answer, settle the call, and pass the body on unchanged. Raises UpstreamUnavailable, UpstreamTimeout."""
    try:
        body = await answer.read()
    finally:
        await answer.close()
    if answer.status >= 400:
        _refused(answer, body, admitted)
    else:
        reading = admitted.call.dialect.usage_of(body)
        if reading.problem and not _is_json(body):
            raise UpstreamUnavailable("The upstream's response is not JSON.", reached=True)
        admitted.ttft_ms = admitted.call.elapsed_ms()
        settling.complete(admitted, reading, http_status=answer.status, written=len(body) // 3)
    await settling.on_its_way(admitted)
    ours = [(b"x-tenantry-cost-usd", usd_text(admitted.cost_nano))]
    if answer.status >= 400:
        # The body is the upstream's own. This header tells its 429 from one of the tenant's limits.
        ours.append((b"x-tenantry-error-source", b"upstream"))
    headers = passed_on(answer, admitted, *ours)
    return Answer(status=answer.status, headers=headers, body=body)


def _refused(answer: UpstreamAnswer, body: bytes, admitted: AdmittedCall) -> None:
    """Settle a call that the upstream refused, at no cost.

    Raises UpstreamUnavailable or UpstreamTimeout if the caller should not see the upstream's answer.
    """
    settling.free(admitted, http_status=answer.status)
    if answer.status == 401:
        # It is about the gateway's own key. Passed on, it would look as if the caller's were wrong.
        logger.error("The upstream refused the gateway's key", extra={"request_id": admitted.call.request_id})
        raise UpstreamUnavailable(
            "The upstream rejected the gateway's credentials. The operator has been notified.", reached=True
        )
    if not _is_json(body):
        logger.warning("The upstream answered %s without JSON", answer.status)
        kind = UpstreamTimeout if answer.status in _GATEWAY_TIMEOUTS else UpstreamUnavailable
        raise kind(f"The upstream is unavailable right now ({answer.status}).", reached=True)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except UNREADABLE:
        return False
    return True
