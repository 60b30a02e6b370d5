"""One attempt of a delivery: an HTTP request to the address that was checked, or an email."""

import asyncio
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self, cast

import httpx
import msgspec
from django.db import close_old_connections

from billing.address_guard import MAIL, Destination, ForbiddenAddress, destination_of
from billing.models import WebhookDelivery
from billing.webhooks.email import send_email
from billing.webhooks.signing import secrets_of, sign
from gateway_project.outgoing_email import EmailNotSent

logger = logging.getLogger(__name__)
AT_ONCE = 300
TIMEOUT_SECONDS = 15
KEPT_RESPONSE = 1000
# Name look-ups and mail servers may hang like receivers, so there is a thread for each attempt that can be open.
_threads = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="webhook")


class Ending(msgspec.Struct, frozen=True):
    """How an attempt ended. `retry_after` is the number of seconds that the receiver asked for."""

    began: datetime
    duration_ms: int
    http_status: int | None = None
    error: str = ""
    response: str = ""
    retry_after: int | None = None

    @property
    def delivered(self) -> bool:
        return not self.error and (self.http_status is None or 200 <= self.http_status < 300)


class Connections:
    """Open connections by host name. One verified for a name is not used for another name at the same address."""

    def __init__(self) -> None:
        self._verified = httpx.create_ssl_context(trust_env=False)
        self._transports: dict[str, httpx.AsyncHTTPTransport] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for transport in self._transports.values():
            await transport.aclose()

    def to(self, destination: Destination) -> httpx.AsyncBaseTransport:
        if destination.authority not in self._transports:
            self._transports[destination.authority] = httpx.AsyncHTTPTransport(
                verify=self._verified, trust_env=False, limits=httpx.Limits(keepalive_expiry=30)
            )
        return self._transports[destination.authority]


async def attempt(delivery: WebhookDelivery, connections: Connections) -> Ending:
    """Try a delivery once. Never raises: whatever goes wrong is an `Ending`."""
    began, clock = datetime.now(UTC), time.monotonic()
    status, error, response, retry_after = None, "", "", None
    try:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            if delivery.endpoint.url.startswith(MAIL):
                await loop.run_in_executor(_threads, _send_email, delivery)
            else:
                destination = await loop.run_in_executor(_threads, destination_of, delivery.endpoint.url)
                status, response, retry_after = await _post(
                    delivery, destination, connections.to(destination)
                )
    except TimeoutError:
        error = f"no response within {TIMEOUT_SECONDS} s"
    except EmailNotSent as refused:
        error, retry_after = f"not sent: {refused}", refused.retry_after
    except ForbiddenAddress as forbidden:
        error = f"not sent: {forbidden}"
    except socket.gaierror:
        error = "not sent: the host name cannot be resolved"
    except (httpx.HTTPError, OSError, UnicodeError) as failure:
        error = f"{type(failure).__name__}: {failure}"
    except Exception as failure:
        # An unreadable secret or a broken email template, for example, must not stop the other deliveries.
        logger.exception("delivery %s could not be tried", delivery.pk)
        error = f"not sent: {type(failure).__name__}: {failure}"
    return Ending(
        began=began,
        duration_ms=int((time.monotonic() - clock) * 1000),
        http_status=status,
        error=error[:500],
        response=response,
        retry_after=retry_after,
    )


def _send_email(delivery: WebhookDelivery) -> None:
    try:
        send_email(delivery)
    finally:
        close_old_connections()  # this thread's connection, which nothing else would return


async def _post(
    delivery: WebhookDelivery, destination: Destination, transport: httpx.AsyncBaseTransport
) -> tuple[int, str, int | None]:
    body = msgspec.json.encode(delivery.payload)
    timestamp = int(time.time())
    keys = secrets_of(delivery.endpoint)
    host = f"[{destination.address}]" if ":" in destination.address else destination.address
    request = httpx.Request(
        "POST",
        f"{'https' if destination.secure else 'http'}://{host}:{destination.port}{destination.target}",
        headers={
            "host": destination.authority,
            "content-type": "application/json",
            "user-agent": "Tenantry-Webhooks/1",
            "webhook-id": delivery.event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(body, event_id=delivery.event_id, timestamp=timestamp, keys=keys),
        },
        content=body,
        extensions={
            "sni_hostname": destination.host,
            "timeout": dict.fromkeys(("connect", "read", "write", "pool"), float(TIMEOUT_SECONDS)),
        },
    )
    answer = await transport.handle_async_request(request)
    try:
        start = b""
        async for piece in cast(httpx.AsyncByteStream, answer.stream):
            start += piece
            if len(start) >= KEPT_RESPONSE:
                break  # it may go on for ever
    finally:
        await answer.aclose()
    shown = start[:KEPT_RESPONSE].decode("utf-8", "replace").replace("\0", "")
    return answer.status_code, shown, _seconds(answer.headers.get("retry-after"))


def _seconds(text: str | None) -> int | None:
    """The seconds of a `retry-after` header, which is a number or a date; `None` without a valid one."""
    if not text:
        return None
    if text.isdecimal():
        return min(int(text[:9]), 86_400)  # Python refuses to parse thousands of digits
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0, min(86_400, int((moment - datetime.now(UTC)).total_seconds()))) if moment.tzinfo else None
