"""Read a request's body, with bounds on size and time that apply while it arrives.

Django's ASGI handler spools a body of any size to disk before a view runs.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.core.exceptions import RequestAborted

from gateway_project.ground.errors import TenantryError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class RequestTooLarge(TenantryError):
    code = "request_too_large"
    status = 413
    type = "request_too_large"


class BodyTooSlow(TenantryError):
    """The body took too long. Not `invalid_request`, which is final: the request may be fine, and SDKs repeat a 408."""

    code = "request_timeout"
    status = 408
    type = "invalid_request_error"


async def read_body(receive: Receive, *, declared: int | None, limit: int, seconds: float) -> bytes:
    """The whole body: at most `limit` bytes, within `seconds`. `declared` is its content-length.

    Raises RequestTooLarge, BodyTooSlow, or RequestAborted if the caller left.
    """
    if declared is not None and declared > 2 * limit:
        raise _too_large(limit, close=True)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise RequestAborted
    if not message.get("more_body", False):
        # The usual case: the body came with the headers, and needs no timer.
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit, close=False)
        return body
    try:
        async with asyncio.timeout(seconds):
            return await _read_rest(receive, first=message.get("body", b""), limit=limit)
    except TimeoutError:
        raise BodyTooSlow(
            f"The request body did not arrive within {seconds:g} seconds.", headers={"connection": "close"}
        ) from None


async def _read_rest(receive: Receive, *, first: bytes, limit: int) -> bytes:
    """Read what follows `first`. A body up to twice the limit is read to its end and dropped: a client that is cut off
    while it uploads sees a reset connection instead of the 413.
    """
    parts = [first]
    size = len(first)
    more = True
    while more:
        message = await _next(receive)
        part = message.get("body", b"")
        size += len(part)
        if size > 2 * limit:
            raise _too_large(limit, close=True)
        if size <= limit:
            parts.append(part)
        else:
            parts.clear()
        more = message.get("more_body", False)
    if size > limit:
        raise _too_large(limit, close=False)
    return b"".join(parts)


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise RequestAborted
    return message


def _too_large(limit: int, *, close: bool) -> RequestTooLarge:
    return RequestTooLarge(
        f"The request body is larger than {limit:,} bytes.",
        headers={"connection": "close"} if close else {},
    )
