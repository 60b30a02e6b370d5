"""The data plane's doors: thin, async, in the caller's dialect."""

from typing import Any, ClassVar

from django.http import HttpResponseBase
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.views import APIView

from proxy import headers as header_lists
from proxy.call import Call
from proxy.dialects import dialect_of
from proxy.errors import MethodNotAllowed, UnsupportedMedia
from proxy.serve import serve


class OneAnswer(BaseContentNegotiation):
    """Whatever is accepted, the answer is what it is: `Accept: text/event-stream` is no reason for a 406."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class DataPlaneView(APIView):
    """A DRF view with a dispatch of its own: keys, limits and errors are the pipeline's.

    The caller's bytes are read as they are, so DRF's request, with its parsers, is never built; that and
    negotiation would cost a third of what the whole pipeline does.
    """

    authentication_classes: ClassVar = ()
    permission_classes: ClassVar = ()
    content_negotiation_class = OneAnswer

    async def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        handler = getattr(self, request.method.lower(), None)
        if handler is None or request.method == "OPTIONS":
            allowed = ", ".join(name for name in self.allowed_methods if name != "OPTIONS")
            raise MethodNotAllowed(
                f"{request.method} is not possible here; use {allowed}.", headers={"allow": allowed}
            )
        return await handler(call_of(request), *args, **kwargs)


def call_of(request: Any) -> Call:
    """The request as the service functions see it. Raises UnsupportedMedia for a body that is not JSON."""
    named = header_lists.read(request.scope["headers"])
    if request.method == "POST":
        _refuse_media(named)
    return Call(
        request_id=request.request_id,
        dialect=dialect_of(request.path, named),
        headers=named,
        query=request.META["QUERY_STRING"],
        body=request.body,
        client=request.client,
    )


def _refuse_media(named: dict[str, str]) -> None:
    if named.get("content-encoding", "identity") != "identity":
        raise UnsupportedMedia("Compressed bodies are not accepted; send plain JSON.")
    kind = named.get("content-type", "application/json")
    if "json" not in kind:
        raise UnsupportedMedia(f"content-type: {kind[:60]!r} is not application/json.")


class Messages(DataPlaneView):
    """`POST /v1/messages` and `POST /v1/chat/completions`."""

    async def post(self, call: Call) -> HttpResponseBase:
        return await serve(call)
