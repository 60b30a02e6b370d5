"""OpenAI's Chat Completions format."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from billing.usage import Usage
from gateway_project.ground.errors import TenantryError
from proxy.dialects import json_edit, prompt_bound
from proxy.dialects.base import (
    TAGS_HEADER,
    UNREADABLE,
    Limit,
    ParsedRequest,
    UsageReading,
    claimed,
    count,
    decode,
    error_body,
    error_headers,
    opening_of,
    person,
    tags_of,
)
from proxy.dialects.headers import RawHeaders
from proxy.dialects.sse import EventReader
from proxy.errors import InvalidRequest
from routing.choice import Ask, CatalogueModel

UNSET_OUTPUT = -1
MOST_OUTPUT = 10_000_000
# Models that refuse the older `max_tokens`.
_KNOW_NO_MAX_TOKENS = ("o1", "o3", "o4", "gpt-5")
# OpenAI's own codes, sent beside ours for clients that look for them.
_OPENAI_CODES = {"model_not_allowed": "model_not_found"}


class _ChatMessage(msgspec.Struct):
    role: str
    content: str | list[Any] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _ChatBody(msgspec.Struct):
    messages: list[_ChatMessage]
    model: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    tools: list[Any] | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None


_decoder = msgspec.json.Decoder(_ChatBody)


def _text(content: str | list[Any] | None) -> str:
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in content or () if isinstance(part, dict))


class OpenAI:
    """`/v1/chat/completions`. Without `max_tokens` it is `UNSET_OUTPUT`, which stands for the model's own limit."""

    name = "openai"
    upstream_path = "/v1/chat/completions"
    request_id_headers: tuple[bytes, ...] = (
        b"request-id",
        b"x-request-id",
    )  # the latter is what its SDKs show

    def parse(self, body: bytes, headers: Mapping[str, str]) -> ParsedRequest:
        """Raises InvalidRequest, naming the field."""
        json_edit.refuse_ambiguity(body)
        read = decode(_decoder, body)
        if not read.messages:
            raise InvalidRequest("messages: at least one message is required.", field="messages")
        if read.max_tokens is not None and read.max_completion_tokens is not None:
            # Upstreams differ on which one counts, and we would hold for only one of them.
            raise InvalidRequest(
                "max_tokens: cannot be combined with max_completion_tokens.", field="max_tokens"
            )
        field = "max_tokens" if read.max_completion_tokens is None else "max_completion_tokens"
        wanted = read.max_tokens if read.max_completion_tokens is None else read.max_completion_tokens
        if wanted is not None and not 1 <= wanted <= MOST_OUTPUT:
            raise InvalidRequest(f"{field}: must be 1 to {MOST_OUTPUT}.", field=field)
        if read.n is not None and not 1 <= read.n <= 128:
            raise InvalidRequest("n: must be 1 to 128.", field="n")
        bound = prompt_bound.bound_of(body, [message.content for message in read.messages])
        end_user, session = person(read.user)
        system = " ".join(
            _text(each.content) for each in read.messages if each.role in ("system", "developer")
        )
        first = next((each.content for each in read.messages if each.role not in ("system", "developer")), "")
        ask = Ask(
            model=read.model or None,
            max_tokens=UNSET_OUTPUT if wanted is None else wanted,
            min_output_tokens=1,
            stream=bool(read.stream),
            input_bound_tokens=bound.tokens,
            family_bounds=bound.by_family,
            images=bound.images,
            media_tokens=bound.media_tokens,
            text_bytes=bound.text_bytes,
            message_count=len(read.messages),
            tool_count=len(read.tools or ()),
            system_text=system,
            opening=opening_of(system, first),
            end_user=end_user,
            session=session,
            answers=read.n or 1,
        )
        return ParsedRequest(
            ask=ask,
            wants_usage=bool(read.stream_options and read.stream_options.include_usage),
            caches=False,
            tags=tags_of(headers.get(TAGS_HEADER, ""), read.metadata),
            max_tokens_field=field,
        )

    def rewrite(self, body: bytes, parsed: ParsedRequest, *, upstream_model: str, max_tokens: int) -> bytes:
        if parsed.ask.model != upstream_model:
            body = json_edit.put(body, "model", upstream_model)
        if parsed.ask.max_tokens != max_tokens:
            field = parsed.max_tokens_field
            if parsed.ask.max_tokens == UNSET_OUTPUT and upstream_model.startswith(_KNOW_NO_MAX_TOKENS):
                field = "max_completion_tokens"
            body = json_edit.put(body, field, max_tokens)
        if parsed.ask.stream and not parsed.wants_usage:
            body = json_edit.put_inside(body, "stream_options", "include_usage", True)
        return body

    def usage_of(self, body: bytes) -> UsageReading:
        """The usage in a JSON answer."""
        try:
            answer = msgspec.json.decode(body)
        except UNREADABLE:
            return UsageReading(Usage(), problem="the response is not JSON")
        if not isinstance(answer, dict):
            return UsageReading(Usage(), problem="the response is not a JSON object")
        return _reading(answer.get("usage"), str(answer.get("model") or ""), complete=True)

    def stream_meter(self, parsed: ParsedRequest) -> "OpenAIStream":
        return OpenAIStream(pass_usage=parsed.wants_usage)

    def credentials(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def render_error(self, error: TenantryError, request_id: str) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = error_headers(error, request_id, self.request_id_headers)
        return error.status, headers, self._envelope(error)

    def error_event(self, error: TenantryError, request_id: str) -> bytes:
        return b"data: " + self._envelope(error) + b"\n\n"

    def _envelope(self, error: TenantryError) -> bytes:
        body: dict[str, Any] = {"param": None, **error_body(error)}
        if error.code in _OPENAI_CODES:
            body["openai_code"] = _OPENAI_CODES[error.code]
        return msgspec.json.encode({"error": body})

    def rate_limit_headers(self, limits: Sequence[Limit]) -> RawHeaders:
        fields: RawHeaders = []
        for each in limits:
            kind, seconds = each.kind.encode(), each.reset.timestamp() - time.time()
            fields.append((b"x-ratelimit-limit-" + kind, b"%d" % each.limit))
            fields.append((b"x-ratelimit-remaining-" + kind, b"%d" % each.remaining))
            fields.append((b"x-ratelimit-reset-" + kind, b"%ds" % max(0, round(seconds))))
        return fields

    def models_page(self, models: Sequence[CatalogueModel]) -> dict[str, Any]:
        return {"object": "list", "data": [self.model_card(model) for model in models]}

    def model_card(self, model: CatalogueModel) -> dict[str, Any]:
        return {"id": model.name, "object": "model", "created": 0, "owned_by": model.family}


def _reading(usage: Any, model: str, *, complete: bool) -> UsageReading:
    """The ledger's token kinds. OpenAI counts cached tokens as part of the prompt; they are subtracted from it."""
    if not isinstance(usage, dict):
        return UsageReading(Usage(), model=model, complete=complete, problem="the response reports no usage")
    try:
        details = usage.get("prompt_tokens_details")
        cached = count(details.get("cached_tokens")) if isinstance(details, dict) else 0
        prompt, output = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
        if cached > prompt:
            raise ValueError(f"{cached} cached tokens in a prompt of {prompt}")
        # Some families count reasoning only in the total.
        output = max(output, count(usage.get("total_tokens")) - prompt)
    except ValueError as error:
        return UsageReading(Usage(), model=model, complete=complete, problem=str(error))
    used = Usage(input_tokens=prompt - cached, output_tokens=output, cache_read_tokens=cached)
    return UsageReading(used, model=model, complete=complete)


class OpenAIStream:
    """Reads usage off a chunk stream. Drops the chunk that carries only usage unless the caller asked for it."""

    def __init__(self, *, pass_usage: bool) -> None:
        self._events = EventReader()
        self._pass_usage = pass_usage
        self._usage: Any = None
        self._model = ""
        self._text_bytes = self._dense_bytes = self._deltas = self._written = 0
        self.finished = self.error_seen = self.first_token_seen = False

    def feed(self, chunk: bytes) -> bytes:
        """Read a chunk. Returns it as it came if usage was asked for, else complete events without the usage one."""
        if (only := self._events.only(chunk)) is not None:
            return chunk if self._read(only) or self._pass_usage else b""
        out = self._passed(self._events.feed(chunk))
        return chunk if self._pass_usage else out

    def end(self) -> bytes:
        """The bytes still held back at the end of the stream."""
        out = self._passed(self._events.end())
        return b"" if self._pass_usage else out

    def _passed(self, events: Iterator[tuple[bytes, bytes]]) -> bytes:
        return b"".join([raw for raw, data in events if self._read(data)])

    def _read(self, data: bytes) -> bool:
        """Read one event. Returns whether the caller gets it."""
        if data == b"[DONE]":
            self.finished = True
            return True
        if not data:
            return True
        try:
            event = msgspec.json.decode(data)
        except UNREADABLE:
            return True
        if not isinstance(event, dict):
            return True
        self._model = str(event.get("model") or self._model)
        if event.get("error"):
            self.error_seen = True
        if event.get("choices"):
            self.first_token_seen = True
            self._deltas += 1
            size = max(0, len(data) - 200)
            self._text_bytes += size
            self._dense_bytes += 0 if data.isascii() else size
            try:
                self._written += len(event["choices"][0]["delta"]["content"].encode())
            except (LookupError, TypeError, AttributeError, ValueError):
                self._written += size  # a tool's arguments, or a summary of thoughts
        if event.get("usage") is not None:
            self._usage = event["usage"]
            return bool(event.get("choices"))
        return True

    @property
    def output_so_far(self) -> int:
        """An estimate of the output tokens so far: at least one for each delta, and for each three bytes of text."""
        reported = self._usage.get("completion_tokens") if isinstance(self._usage, dict) else 0
        return max(self._written // 3, self._deltas, claimed(reported))

    @property
    def output_at_most(self) -> int:
        """The output tokens to hold for: half a token for each byte, or one in an event that is not ASCII."""
        return max((self._text_bytes + self._dense_bytes) // 2, self.output_so_far)

    def reading(self) -> UsageReading:
        reading = _reading(self._usage, self._model, complete=self.finished)
        if self._events.lost and not reading.problem:
            return msgspec.structs.replace(reading, problem="an event was too large to read")
        return reading
