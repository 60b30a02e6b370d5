"""What goes back to the caller: the upstream's answer under our headers, and failures in its dialect."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import HttpResponse, HttpResponseBase
from django.urls import Resolver404

from billing.money import to_usd
from billing.request_ids import new_request_id
from gateway_project.errors import TenantryError
from proxy import headers as header_lists
from proxy.charge import Charge
from proxy.dialects import dialect_of
from proxy.dialects.base import Limits
from proxy.errors import NotFound
from proxy.upstream import UpstreamAnswer

logger = logging.getLogger("tenantry.proxy")


class InternalError(TenantryError):
    """A fault of ours."""

    def __init__(self) -> None:
        super().__init__("Something went wrong on our side. The request id helps us to find it.")


def usd_text(nano: int) -> str:
    """An amount for a header: USD with six places, or up to nine where they are needed."""
    text = f"{to_usd(nano):.9f}"
    return text[:-3] if text.endswith("000") else text


def passed_on(response: HttpResponseBase, answer: UpstreamAnswer, charge: Charge) -> HttpResponseBase:
    """`response` with what passes of the upstream's headers, and ours."""
    fields = response.headers
    for raw_name, raw_value in header_lists.to_caller(answer.headers):
        fields[raw_name.decode("ascii", "ignore")] = raw_value.decode("latin-1")
    for name, value in our_headers(charge).items():
        fields[name] = value
    if charge.upstream_request_id:
        fields["x-upstream-request-id"] = charge.upstream_request_id
    return response


def our_headers(charge: Charge) -> dict[str, str]:
    """Request id, model, route, budget and limits of an admitted call."""
    admission = charge.admission
    fields = {
        "request-id": charge.call.request_id,
        "x-tenantry-model": admission.lease.offer.candidate.model.name,
        "x-tenantry-route": admission.route,
    }
    if admission.budget_remaining_nano is not None:
        # Until a call is settled, what it may cost at most counts as spent.
        spent = charge.cost_nano if charge.settled else admission.lease.hold_nano
        fields["x-tenantry-budget-remaining-usd"] = usd_text(max(0, admission.budget_remaining_nano - spent))
    admitted = datetime.fromtimestamp(admission.admitted_ms / 1000, UTC)
    limits = Limits(
        requests_limit=admission.requests_limit,
        requests_used=admission.requests_used,
        tokens_limit=admission.tokens_limit,
        tokens_used=admission.tokens_used,
        requests_reset=admitted + timedelta(seconds=60),
        tokens_reset=admission.day_ends,
    )
    fields.update(charge.call.dialect.rate_limit_headers(limits))
    return fields


def failure(error: Exception, request: Any) -> HttpResponse:
    """`error` in the dialect of the caller. What is not ours is logged, and answered as a fault of ours."""
    if isinstance(error, Resolver404):
        error = NotFound(f"There is no {request.path[:200]} here.")
    if not isinstance(error, TenantryError):
        logger.error("Unexpected failure on %s", request.path, exc_info=error)
        error = InternalError()
    named = header_lists.read(request.scope["headers"])
    request_id = getattr(request, "request_id", None) or new_request_id()
    status, fields, body = dialect_of(request.path, named).render_error(error, request_id)
    response = HttpResponse(body, status=status)
    for name, value in fields:
        response.headers[name] = value
    return response
