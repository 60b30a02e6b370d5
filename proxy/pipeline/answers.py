"""What goes back to the caller: the upstream's answer with our headers, and errors in the caller's dialect."""

import logging
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

import msgspec
from django.urls import Resolver404

from billing.meter.errors import DailyTokensExceeded, RateLimited
from gateway_project.ground.errors import TenantryError
from gateway_project.ground.money import NANO
from proxy.dialects import dialect_of
from proxy.dialects import headers as header_lists
from proxy.dialects.base import Limit
from proxy.dialects.headers import RawHeaders
from proxy.errors import NotFound
from proxy.pipeline.admitted import AdmittedCall
from proxy.upstream.client import UpstreamAnswer

logger = logging.getLogger("tenantry.proxy")


class Answer:
    """Status, headers as they are sent, and a body or its pieces. `close` is called at the end.

    Django's response keeps headers as text and encodes them again, which takes 45 µs.
    """

    __slots__ = ("body", "close", "headers", "pieces", "status")

    def __init__(
        self,
        *,
        status: int,
        headers: RawHeaders,
        body: bytes = b"",
        pieces: AsyncGenerator[bytes, None] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.pieces = pieces
        self.close = close


class InternalError(TenantryError):
    """A fault of ours."""

    def __init__(self) -> None:
        super().__init__("Something went wrong on our side. Include the request ID when you contact support.")


def json_answer(value: Any, *, request_id: str) -> Answer:
    """A JSON answer of the gateway's own. `Decimal` becomes text, so that nothing is lost in a float."""
    fields = [(b"content-type", b"application/json"), (b"request-id", request_id.encode())]
    return Answer(status=200, headers=fields, body=msgspec.json.encode(_written_out(value)))


def _written_out(value: Any) -> Any:
    """`value` with each `Decimal` as text: 0.00000038, not 3.8E-7."""
    match value:
        case Decimal():
            return f"{value:f}"
        case dict():
            return {name: _written_out(each) for name, each in value.items()}
        case list() | tuple():
            return [_written_out(each) for each in value]
    return value


def usd_text(nano: int) -> bytes:
    """An amount for a header: USD with six places, or nine if they are needed."""
    text = b"%d.%09d" % divmod(nano, NANO)
    return text[:-3] if text.endswith(b"000") else text


def passed_on(answer: UpstreamAnswer, admitted: AdmittedCall, *ours: tuple[bytes, bytes]) -> RawHeaders:
    """The headers for the caller: the upstream's as far as they pass, then the gateway's, then `ours`."""
    fields = header_lists.to_caller(answer.headers)
    fields += _ours(admitted)
    fields += ours
    if admitted.upstream_request_id:
        fields.append((b"x-upstream-request-id", admitted.upstream_request_id.encode("latin-1", "replace")))
    return fields


def _ours(admitted: AdmittedCall) -> RawHeaders:
    """Request id, model, route, budget and limits of an admitted call."""
    admission, dialect = admitted.hold.admission, admitted.call.dialect
    request_id = admitted.call.request_id.encode()
    fields = [(name, request_id) for name in dialect.request_id_headers]
    fields.append((b"x-tenantry-model", _header_value(admission.lease.offer.candidate.model.name)))
    fields.append((b"x-tenantry-route", _header_value(admission.route.text)))
    if admission.budget_remaining_nano is not None:
        # Until the call is settled, its hold counts as spent.
        spent = admitted.cost_nano if admitted.settled else admission.lease.hold_nano
        left = usd_text(max(0, admission.budget_remaining_nano - spent))
        fields.append((b"x-tenantry-budget-remaining-usd", left))
    fields += dialect.rate_limit_headers(_limits_after(admitted))
    return fields


@lru_cache(maxsize=1024)
def _header_value(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _limits_after(admitted: AdmittedCall) -> list[Limit]:
    """The limits as the next call will find them. Until this one is settled, the tokens held for it count as used."""
    admission = admitted.hold.admission
    limits = []
    if admission.requests_limit is not None:
        reset = _instant(-(-admission.admitted_ms // 1000) + 60)
        limits.append(Limit("requests", admission.requests_limit, admission.requests_used, reset))
    if admission.tokens_limit is not None:
        used = admission.tokens_used
        if admitted.settled:
            used += admitted.tokens - admission.lease.held_tokens
        limits.append(Limit("tokens", admission.tokens_limit, used, admission.day_ends))
    return limits


def _limits_met(error: TenantryError) -> list[Limit]:
    """The limit that refused. At its reset the next call is allowed."""
    if isinstance(error, RateLimited | DailyTokensExceeded) and error.limit is not None:
        kind: Literal["requests", "tokens"] = "requests" if isinstance(error, RateLimited) else "tokens"
        return [Limit(kind, error.limit, error.limit, datetime.now(UTC) + timedelta(seconds=error.seconds))]
    return []


@lru_cache(maxsize=4)
def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def failure(error: Exception, request: Any) -> Answer:
    """The answer for `error`, in the caller's dialect. An unexpected error is logged and answered as internal."""
    if isinstance(error, Resolver404):
        error = NotFound(f"There is no endpoint {request.path[:200]}.")
    if not isinstance(error, TenantryError):
        logger.error("Unexpected failure on %s", request.path, exc_info=error)
        error = InternalError()
    named = header_lists.read(request.headers)
    request_id = request.request_id
    request.runtime.telemetry.refused(error, request_id=request_id, path=request.path)
    dialect = dialect_of(request.path, named)
    status, fields, body = dialect.render_error(error, request_id)
    headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in fields]
    headers += dialect.rate_limit_headers(_limits_met(error))
    return Answer(status=status, headers=headers, body=body)
