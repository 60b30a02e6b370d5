"""Anthropic's Messages format."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway_project.ground.errors import TenantryError
from proxy.dialects import json_edit, prompt_bound
from proxy.dialects.anthropic_usage import AnthropicStream, usage_of
from proxy.dialects.base import (
    TAGS_HEADER,
    Limit,
    ParsedRequest,
    UsageReading,
    decode,
    error_body,
    error_headers,
    iso,
    opening_of,
    person,
    tags_of,
)
from proxy.dialects.headers import RawHeaders
from proxy.errors import InvalidRequest
from routing.choice import Ask, CatalogueModel

MOST_OUTPUT = 10_000_000
_LIMIT_HEADERS = {
    kind: tuple(
        b"anthropic-ratelimit-%b-%b" % (kind.encode(), each) for each in (b"limit", b"remaining", b"reset")
    )
    for kind in ("requests", "tokens")
}


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Thinking(msgspec.Struct):
    type: str = ""
    budget_tokens: int = 0


class _MessagesMessage(msgspec.Struct):
    role: str
    content: str | list[Any]


class _Tool(msgspec.Struct):
    type: str | None = None
    max_uses: int | None = None


class _MessagesBody(msgspec.Struct):
    max_tokens: int
    messages: list[_MessagesMessage]
    model: str | None = None
    system: str | list[Any] | None = None
    stream: bool | None = None
    tools: list[_Tool] | None = None
    metadata: _Metadata | None = None
    thinking: _Thinking | None = None


class _CountBody(msgspec.Struct):
    messages: list[_MessagesMessage]
    max_tokens: int = 0
    model: str | None = None
    system: str | list[Any] | None = None
    stream: bool | None = None
    tools: list[_Tool] | None = None
    metadata: _Metadata | None = None
    thinking: _Thinking | None = None


_decoder = msgspec.json.Decoder(_MessagesBody)
_count_decoder = msgspec.json.Decoder(_CountBody)


def _system_text(system: str | list[Any] | None) -> str:
    if not system:
        return ""
    if isinstance(system, str):
        return system
    return " ".join(str(block.get("text", "")) for block in system if isinstance(block, dict))


def _searches(tools: Sequence[_Tool]) -> int:
    """How many searches the upstream may make at most."""
    return sum(
        # A negative `max_uses` would lower the hold below the call's own cost.
        max(0, tool.max_uses) if tool.max_uses else 5
        for tool in tools
        if tool.type and tool.type.startswith("web_search")
    )


class Anthropic:
    """`/v1/messages`."""

    name = "anthropic"
    upstream_path = "/v1/messages"
    request_id_headers: tuple[bytes, ...] = (b"request-id",)

    def parse(self, body: bytes, headers: Mapping[str, str], *, counting: bool = False) -> ParsedRequest:
        """Raises InvalidRequest, naming the field."""
        json_edit.refuse_ambiguity(body)
        read = decode(_count_decoder if counting else _decoder, body)
        if not read.messages:
            raise InvalidRequest("messages: at least one message is required.", field="messages")
        if not 0 <= read.max_tokens <= MOST_OUTPUT:
            raise InvalidRequest(f"max_tokens: must be 0 to {MOST_OUTPUT}.", field="max_tokens")
        tools = read.tools or []
        bound = prompt_bound.bound_of(
            body,
            [message.content for message in read.messages],
            fixed_tokens=prompt_bound.tool_tokens([tool.type for tool in tools]),
        )
        thinking = 1
        if read.thinking and read.thinking.type == "enabled":
            thinking = max(0, read.thinking.budget_tokens) + 1
        end_user, session = person(read.metadata.user_id if read.metadata else None)
        system = _system_text(read.system)
        ask = Ask(
            model=read.model or None,
            max_tokens=read.max_tokens,
            min_output_tokens=thinking,
            stream=bool(read.stream),
            input_bound_tokens=bound.tokens,
            family_bounds=bound.by_family,
            images=bound.images,
            media_tokens=bound.media_tokens,
            text_bytes=bound.text_bytes,
            message_count=len(read.messages),
            tool_count=len(tools),
            system_text=system,
            opening=opening_of(system, read.messages[0].content),
            end_user=end_user,
            session=headers.get("x-claude-code-session-id", session)[:200],
        )
        searches = _searches(tools) if tools else 0
        return ParsedRequest(
            ask=ask,
            wants_usage=True,
            caches=b'"cache_control"' in body,
            tags=tags_of(headers.get(TAGS_HEADER, "")),
            extra_hold_searches=searches,
            thinks_freely=read.thinking is not None and read.thinking.type == "adaptive",
        )

    def rewrite(self, body: bytes, parsed: ParsedRequest, *, upstream_model: str, max_tokens: int) -> bytes:
        if parsed.ask.model != upstream_model:
            body = json_edit.put(body, "model", upstream_model)
        if parsed.ask.max_tokens != max_tokens:
            body = json_edit.put(body, "max_tokens", max_tokens)
        return body

    def usage_of(self, body: bytes) -> UsageReading:
        """The usage in a JSON answer."""
        return usage_of(body)

    def stream_meter(self, parsed: ParsedRequest) -> AnthropicStream:
        return AnthropicStream()

    def credentials(self, key: str) -> dict[str, str]:
        return {"x-api-key": key}

    def render_error(self, error: TenantryError, request_id: str) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = error_headers(error, request_id, self.request_id_headers)
        return error.status, headers, self._envelope(error, request_id)

    def error_event(self, error: TenantryError, request_id: str) -> bytes:
        return b"event: error\ndata: " + self._envelope(error, request_id) + b"\n\n"

    def _envelope(self, error: TenantryError, request_id: str) -> bytes:
        return msgspec.json.encode({"type": "error", "error": error_body(error), "request_id": request_id})

    def rate_limit_headers(self, limits: Sequence[Limit]) -> RawHeaders:
        fields: RawHeaders = []
        for each in limits:
            limit, remaining, reset = _LIMIT_HEADERS[each.kind]
            fields.append((limit, b"%d" % each.limit))
            fields.append((remaining, b"%d" % each.remaining))
            fields.append((reset, iso(each.reset)))
        return fields

    def models_page(self, models: Sequence[CatalogueModel]) -> dict[str, Any]:
        return {
            "data": [self.model_card(model) for model in models],
            "has_more": False,
            "first_id": models[0].name if models else None,
            "last_id": models[-1].name if models else None,
        }

    def model_card(self, model: CatalogueModel) -> dict[str, Any]:
        return {
            "type": "model",
            "id": model.name,
            "display_name": model.name,
            "created_at": "1970-01-01T00:00:00Z",
        }
