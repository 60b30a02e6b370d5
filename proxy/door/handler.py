"""The data plane's entry to Django: serves `/v1/*` without thread hops, signals and middleware.

Django's own `ASGIHandler` spends about 1 ms a request on them (measured: 0.9k against 4–7k empty requests a second):
`ThreadSensitiveContext`, the receivers of `request_started` and `request_finished`, and
`sync_to_async(response.close)`. They look after ORM connections and uploads. The data plane has neither.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler
from django.urls import get_resolver

from billing.request_ids import new_request_id
from gateway_project.ground.http_protocol import ON_DISCONNECT, SEND_WHOLE
from proxy.dialects.headers import RawHeaders
from proxy.door.views import DataPlaneView
from proxy.pipeline.answers import Answer, failure
from proxy.pipeline.body import Message, Receive, read_body
from proxy.pipeline.caller import CallerConnection, GatewayStopping
from proxy.runtime import Runtime

Send = Callable[[Message], Awaitable[None]]
Scope = dict[str, Any]
_NONE: dict[str, Any] = {}


class DataPlaneRequest:
    """What the pipeline needs of a request and its connection, with a new request id.

    Django's request copies every header into META (17 µs). Here they are read from the scope, once.
    """

    __slots__ = ("body", "client", "headers", "method", "path", "query", "request_id", "runtime", "scope")

    def __init__(self, scope: Scope, client: CallerConnection, runtime: Runtime) -> None:
        self.runtime = runtime
        self.scope = scope
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self.query: str = scope["query_string"].decode("latin-1")
        self.headers: RawHeaders = scope["headers"]
        self.body = b""
        self.client = client
        self.request_id = new_request_id()


class DataPlaneHandler(ASGIHandler):
    """Serves `proxy.door.urls` on the event loop alone. Every failure is answered in the caller's dialect."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self.runtime = runtime

    def load_middleware(self, is_async: bool = False) -> None:
        """Load none: sessions, CSRF, messages and redirects belong to the control plane."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        client = CallerConnection(receive, scope.get("extensions", _NONE).get(ON_DISCONNECT))
        request = DataPlaneRequest(scope, client, self.runtime)
        try:
            request.body = await read_body(
                receive,
                declared=_content_length(request.headers),
                limit=settings.BODY_LIMIT_BYTES,
                seconds=settings.BODY_TIMEOUT,
            )
        except RequestAborted:
            return
        except Exception as error:
            await _send_whole(failure(error, request), scope, send)
            return
        async with client:
            answer = await _respond(request)
            try:
                await _send(answer, scope, send, client)
            finally:
                if answer.close is not None:
                    answer.close()


async def _respond(request: DataPlaneRequest) -> Answer:
    try:
        view, arguments = _resolved(request.path)
        return await view(request, **arguments)
    except Exception as error:
        return failure(error, request)
    except asyncio.CancelledError:
        if request.client.was_cut():
            return failure(GatewayStopping(), request)
        raise


async def _send(answer: Answer, scope: Scope, send: Send, client: CallerConnection) -> None:
    if answer.pieces is None:
        client.answered = True
        await _send_whole(answer, scope, send)
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    async with aclosing(answer.pieces) as pieces:
        async for piece in pieces:
            try:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            except asyncio.CancelledError:
                if not client.was_cut():
                    raise
                # The server stops while a slow caller reads: send this piece, then the stream's error event.
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                with suppress(StopAsyncIteration):
                    last = await pieces.athrow(GatewayStopping())
                    await send({"type": "http.response.body", "body": last, "more_body": True})
    client.answered = True
    await send({"type": "http.response.body", "body": b""})


async def _send_whole(answer: Answer, scope: Scope, send: Send) -> None:
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    send_whole = scope.get("extensions", _NONE).get(SEND_WHOLE)
    if answer.status < 400 and send_whole is not None and send_whole(answer.status, headers, answer.body):
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


@lru_cache(maxsize=256)
def _resolved(path: str) -> tuple[Callable[..., Awaitable[Answer]], dict[str, Any]]:
    """The view for `path`, and the arguments in the path. Cached, since nearly all requests are to one of two paths.

    Saves 20 µs of matching patterns and 5 µs of making a view. Views keep no state between requests.
    """
    match = get_resolver("proxy.door.urls").resolve(path)
    view: DataPlaneView = match.func.cls()  # type: ignore[attr-defined]  # DRF's `as_view` puts the class there
    return view.dispatch, match.kwargs


def _content_length(headers: RawHeaders) -> int | None:
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None
