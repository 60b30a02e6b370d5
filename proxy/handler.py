"""The data plane's way into Django: `/v1/*` without thread hops, signals and middleware.

Django's own `ASGIHandler` spends about 1 ms a request on them (0.9k against 4–7k empty requests a second,
measured): `ThreadSensitiveContext`, the receivers of `request_started` and `request_finished`, and
`sync_to_async(response.close)`. They look after ORM connections and uploads; the data plane has neither.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from io import BytesIO
from typing import Any, cast

from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http import HttpResponse, HttpResponseBase
from django.urls import get_resolver

from billing.request_ids import new_request_id
from proxy.answers import failure
from proxy.body import Message, Receive, read_body
from proxy.client import Client

Send = Callable[[Message], Awaitable[None]]
Scope = dict[str, Any]


class DataPlaneRequest(ASGIRequest):
    """With what the pipeline needs of the connection, and an id of its own."""

    request_id: str
    client: Client


class DataPlaneHandler(ASGIHandler):
    """Serves `proxy.urls` on the event loop alone. Every failure is answered in the caller's dialect."""

    urlconf = "proxy.urls"
    request_class = DataPlaneRequest

    def load_middleware(self, is_async: bool = False) -> None:
        """None: sessions, CSRF, messages and redirects belong to the control plane."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        try:
            body = await read_body(
                receive,
                declared=_content_length(scope),
                limit=settings.BODY_LIMIT_BYTES,
                seconds=settings.BODY_TIMEOUT,
            )
        except RequestAborted:
            return
        except Exception as error:
            request = self.request_class(scope, BytesIO())
            await self._send(failure(error, request), send)
            return
        request = self.request_class(scope, BytesIO())
        request._body = body
        request.request_id = new_request_id()
        async with Client(receive) as client:
            request.client = client
            response = await self._respond(request)
            try:
                await self._send(response, send, client)
            finally:
                # What Django's `close` does, without its signal and on the event loop: a stream that was
                # never begun is settled here.
                for close in cast(Any, response)._resource_closers:
                    close()

    async def _respond(self, request: Any) -> HttpResponseBase:
        try:
            match = get_resolver(self.urlconf).resolve(request.path_info)
            return await match.func(request, *match.args, **match.kwargs)
        except Exception as error:
            return failure(error, request)

    async def _send(self, response: HttpResponseBase, send: Send, client: Client | None = None) -> None:
        """Like `send_response`, without the wrappers Django puts around each piece of a stream."""
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        if response.streaming:
            pieces = cast(AsyncGenerator[bytes, None], cast(Any, response)._iterator)
            async with aclosing(pieces) as pieces:
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            body = b""
        else:
            body = cast(HttpResponse, response).content
        if client is not None:
            client.answered = True
        await send({"type": "http.response.body", "body": body})


def _content_length(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None
