"""The data plane's views: thin, async, and in the caller's dialect."""

from typing import Any

from django.http import QueryDict
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.views import APIView

from proxy.dialects import dialect_of
from proxy.dialects import headers as header_lists
from proxy.door import account
from proxy.errors import MethodNotAllowed, NotFound, UnsupportedMedia
from proxy.pipeline.answers import Answer, json_answer
from proxy.pipeline.call import Call
from proxy.pipeline.decision import decide
from proxy.pipeline.serve import count_tokens, current_principal, serve


class OneAnswer(BaseContentNegotiation):
    """Ignores `Accept`: `text/event-stream` is no reason for a 406."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class DataPlaneView(APIView):
    """A DRF view with its own dispatch: the pipeline handles keys, limits and errors.

    The caller's bytes are read as they are, so DRF's request is never built. It and content negotiation would cost a
    third of what the whole pipeline does. One instance serves all requests of a path.
    """

    authentication_classes = ()
    permission_classes = ()
    content_negotiation_class = OneAnswer

    async def dispatch(self, request: Any, **kwargs: Any) -> Answer:  # type: ignore[override]
        method = "get" if request.method == "HEAD" else request.method.lower()
        handler = getattr(self, method, None)
        if handler is None or request.method == "OPTIONS":
            allowed = ", ".join(name for name in self.allowed_methods if name != "OPTIONS")
            raise MethodNotAllowed(
                f"{request.method} is not allowed here. Use {allowed}.", headers={"allow": allowed}
            )
        return await handler(call_of(request), **kwargs)


def call_of(request: Any) -> Call:
    """The request as the service functions see it. Raises UnsupportedMedia for a body that is not JSON."""
    named = header_lists.read(request.headers)
    if request.method == "POST":
        _refuse_media(named)
    return Call(
        runtime=request.runtime,
        request_id=request.request_id,
        dialect=dialect_of(request.path, named),
        headers=named,
        target=f"{request.path}?{request.query}" if request.query else request.path,
        body=request.body,
        client=request.client,
        address=(request.scope.get("client") or ("",))[0],
    )


def _refuse_media(named: dict[str, str]) -> None:
    if named.get("content-encoding", "identity") != "identity":
        raise UnsupportedMedia("Compressed bodies are not accepted. Send plain JSON.")
    kind = named.get("content-type", "application/json")
    if "json" not in kind:
        raise UnsupportedMedia(f"content-type: {kind[:60]!r} is not application/json.")


class Calls(DataPlaneView):
    """Each dialect's own path: `POST /v1/messages`, `POST /v1/chat/completions` and so on."""

    async def post(self, call: Call) -> Answer:
        return await serve(call)


class CountTokensView(DataPlaneView):
    async def post(self, call: Call) -> Answer:
        return await count_tokens(call)


class ModelListView(DataPlaneView):
    """The tenant's own models."""

    async def get(self, call: Call) -> Answer:
        principal = await current_principal(call)
        models = [principal.policy.models[name] for name in sorted(principal.policy.models)]
        return json_answer(call.dialect.models_page(models), request_id=call.request_id)


class ModelView(DataPlaneView):
    async def get(self, call: Call, name: str) -> Answer:
        principal = await current_principal(call)
        model = principal.policy.models.get(name)
        if model is None:
            raise NotFound(f"There is no model {name[:100]!r}.")
        return json_answer(call.dialect.model_card(model), request_id=call.request_id)


class UsageView(DataPlaneView):
    async def get(self, call: Call) -> Answer:
        principal = await current_principal(call)
        period, _ = call.runtime.meter.policies.spans(principal.policy)
        query = QueryDict(call.target.partition("?")[2])
        usage = await account.usage_of(call.runtime.reports, principal, query, period=period)
        return json_answer(usage, request_id=call.request_id)


class BudgetView(DataPlaneView):
    async def get(self, call: Call) -> Answer:
        budget = await account.budget_of(call.runtime.meter, await current_principal(call))
        return json_answer(budget, request_id=call.request_id)


class ReceiptView(DataPlaneView):
    """`GET /v1/requests/{request-id}`."""

    async def get(self, call: Call, request_id: str) -> Answer:
        runtime, principal = call.runtime, await current_principal(call)
        receipt = await account.receipt_of(runtime.reports, runtime.meter.pipe, principal, request_id)
        return json_answer(receipt, request_id=call.request_id)


class RouteView(DataPlaneView):
    """`POST /v1/route`: the decision, and nothing else."""

    async def post(self, call: Call) -> Answer:
        return json_answer(await decide(call), request_id=call.request_id)
