"""The data plane's way into Django: `/v1/*` without thread hops, signals and middleware.

Django's own `ASGIHandler` spends about 1 ms a request on them (0.9k against 4–7k empty requests a second,
measured): `ThreadSensitiveContext`, the receivers of `request_started` and `request_finished`, and
`sync_to_async(response.close)`. They look after ORM connections and uploads; the data plane has neither.
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import lru_cache
from typing import Any, cast

from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.urls import ResolverMatch, get_resolver

from billing.request_ids import new_request_id
from proxy.answers import Answer, failure
from proxy.body import Message, Receive, read_body
from proxy.client import Client

Send = Callable[[Message], Awaitable[None]]
Scope = dict[str, Any]


class DataPlaneRequest(ASGIRequest):
    """With what the pipeline needs of the connection, and an id of its own.

    Django's constructor copies every header into META (17 µs); here they are read from the scope, once.
    """

    client: Client

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.path = self.path_info = scope["path"]
        self.method = scope["method"].upper()
        self.META = {"QUERY_STRING": scope["query_string"].decode("latin-1")}
        self.request_id = new_request_id()


class DataPlaneHandler(ASGIHandler):
    """Serves `proxy.urls` on the event loop alone. Every failure is answered in the caller's dialect."""

    def load_middleware(self, is_async: bool = False) -> None:
        """None: sessions, CSRF, messages and redirects belong to the control plane."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        request = DataPlaneRequest(scope)
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
            await _send_whole(failure(error, request), send)
            return
        request._body = body
        async with Client(receive) as client:
            request.client = client
            answer = await self._respond(request)
            try:
                await _send(answer, send, client)
            finally:
                if answer.close is not None:
                    answer.close()

    async def _respond(self, request: DataPlaneRequest) -> Answer:
        try:
            match = _resolved(request.path_info)
            return cast(Answer, await match.func(request, *match.args, **match.kwargs))
        except Exception as error:
            return failure(error, request)


async def _send(answer: Answer, send: Send, client: Client) -> None:
    if answer.pieces is None:
        client.answered = True
        await _send_whole(answer, send)
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    async with aclosing(answer.pieces) as pieces:
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    client.answered = True
    await send({"type": "http.response.body", "body": b""})


async def _send_whole(answer: Answer, send: Send) -> None:
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


@lru_cache(maxsize=256)
def _resolved(path: str) -> ResolverMatch:
    """The view for `path`; nearly all requests are to one of two paths (saves 20 µs of patterns)."""
    return get_resolver("proxy.urls").resolve(path)


def _content_length(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None
