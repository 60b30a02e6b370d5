"""Usage as Anthropic's answers report it, in JSON or in a stream."""

import json
from typing import Any

import msgspec

from billing.usage import Usage
from proxy.dialects.base import UNREADABLE, Count, UsageReading, claimed, count
from proxy.dialects.sse import EventReader


class _Split(msgspec.Struct):
    ephemeral_5m_input_tokens: Count = 0
    ephemeral_1h_input_tokens: Count = 0


class _ServerTools(msgspec.Struct):
    web_search_requests: Count = 0


class _Usage(msgspec.Struct):
    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_creation_input_tokens: Count = 0
    cache_read_input_tokens: Count = 0
    cache_creation: _Split | None = None
    server_tool_use: _ServerTools | None = None
    iterations: list[Any] | None = None


class _Answer(msgspec.Struct):
    """The part of an answer that is read; the rest is skipped."""

    usage: _Usage
    model: str | None = None


_decoder = msgspec.json.Decoder(_Answer)


def usage_of(body: bytes) -> UsageReading:
    """The usage in a JSON answer."""
    try:
        answer = _decoder.decode(body)
    except UNREADABLE:
        return _unusual(body)
    return _unusual(body) if answer.usage.iterations else _usual(answer)


def _usual(answer: _Answer) -> UsageReading:
    """The same as `_reading` for an answer without iterations, as nearly all are, in a third of the time."""
    usage, split, tools = answer.usage, answer.usage.cache_creation, answer.usage.server_tool_use
    written = usage.cache_creation_input_tokens or 0
    short = (split.ephemeral_5m_input_tokens or 0) if split else 0
    long = (split.ephemeral_1h_input_tokens or 0) if split else 0
    counts = Usage(
        input_tokens=usage.input_tokens or 0,
        output_tokens=usage.output_tokens or 0,
        cache_read_tokens=usage.cache_read_input_tokens or 0,
        cache_write_5m_tokens=max(short, written - long),
        cache_write_1h_tokens=long,
        web_searches=(tools.web_search_requests or 0) if tools else 0,
    )
    return UsageReading(counts, model=answer.model or "")


def _unusual(body: bytes) -> UsageReading:
    """The usage in an answer that `_Answer` does not fit or that has iterations, or why it cannot be read."""
    try:
        answer = msgspec.json.decode(body)
    except UNREADABLE:
        return UsageReading(Usage(), problem="the response is not JSON")
    if not isinstance(answer, dict):
        return UsageReading(Usage(), problem="the response is not a JSON object")
    return _reading(answer.get("usage"), str(answer.get("model") or ""), complete=True)


def _reading(usage: Any, model: str, *, complete: bool) -> UsageReading:
    """The ledger's token kinds from the upstream's usage object, checked."""
    if not isinstance(usage, dict):
        return UsageReading(Usage(), model=model, complete=complete, problem="the response reports no usage")
    try:
        iterations = usage.get("iterations")
        parts = iterations if isinstance(iterations, list) and iterations else [usage]
        counted = [_counts(part) for part in parts if isinstance(part, dict)]
        if not counted:
            raise ValueError("the iterations report no usage")
        tools = usage.get("server_tool_use")
        searches = count(tools.get("web_search_requests")) if isinstance(tools, dict) else 0
    except ValueError as error:
        return UsageReading(Usage(), model=model, complete=complete, problem=str(error))
    plain, output, read, short, long = (sum(column) for column in zip(*counted, strict=True))
    return UsageReading(Usage(plain, output, read, short, long, searches), model=model, complete=complete)


def _counts(usage: dict[str, Any]) -> tuple[int, int, int, int, int]:
    written = count(usage.get("cache_creation_input_tokens"))
    split = usage.get("cache_creation")
    split = split if isinstance(split, dict) else {}
    short, long = count(split.get("ephemeral_5m_input_tokens")), count(split.get("ephemeral_1h_input_tokens"))
    # Writes that the split does not mention are billed as 5-minute writes.
    short += max(0, written - short - long)
    return (
        count(usage.get("input_tokens")),
        count(usage.get("output_tokens")),
        count(usage.get("cache_read_input_tokens")),
        short,
        long,
    )


# How many bytes of a usual text delta's event are not its text.
_USUAL_FRAME = 83


class AnthropicStream:
    """Reads usage off a Messages stream: for each field the last value that was not null, never a sum."""

    def __init__(self) -> None:
        self._events = EventReader()
        self._usage: dict[str, Any] = {}
        self._model = ""
        self._text_bytes = self._dense_bytes = self._deltas = self._claimed = 0
        # Bytes of text seen so far; and the bytes around it in each delta of this block, 0 until one was measured.
        self._written = self._frame = 0
        self.finished = self.error_seen = self.first_token_seen = False

    def feed(self, chunk: bytes) -> bytes:
        """Read a chunk. Returns the bytes to pass on, which are the chunk itself."""
        if (only := self._events.only(chunk)) is not None:
            self._read(only)
            return chunk
        for _, data in self._events.feed(chunk):
            self._read(data)
        return chunk

    def end(self) -> bytes:
        """Read what came after the last complete event. Returns no bytes, since none are held back."""
        for _, data in self._events.end():
            self._read(data)
        return b""

    def _read(self, data: bytes) -> None:
        # Most events are text deltas. Only their size counts, so they are not decoded.
        if b'"content_block_delta"' in data[:80]:
            self.first_token_seen = True
            self._deltas += 1
            length = len(data)
            if not self._frame:
                self._frame = _frame_of(data)
            if length > self._frame:
                self._written += length - self._frame
            if length > _USUAL_FRAME:
                self._text_bytes += length - _USUAL_FRAME
                self._dense_bytes += 0 if data.isascii() else length - _USUAL_FRAME
            return
        try:
            event = msgspec.json.decode(data)
        except UNREADABLE:
            return
        if not isinstance(event, dict):
            return
        kind = event.get("type")
        if kind == "message_start" and isinstance(event.get("message"), dict):
            self._model = str(event["message"].get("model") or "")
            self._merge(event["message"].get("usage"))
        elif kind == "message_delta":
            self._merge(event.get("usage"))
        elif kind == "content_block_start":
            self._frame = 0  # the next block may have another kind of delta
        elif kind == "message_stop":
            self.finished = True
        elif kind == "error":
            self.error_seen = True

    def _merge(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self._usage.update({name: value for name, value in usage.items() if value is not None})
            self._claimed = claimed(self._usage.get("output_tokens"))

    @property
    def output_so_far(self) -> int:
        """An estimate of the output tokens so far: at least one for each delta, and for each three bytes of text."""
        return max(self._written // 3, self._deltas, self._claimed)

    @property
    def output_at_most(self) -> int:
        """The output tokens to hold for: half a token for each byte, which is more than Latin text and code count. An
        event that is not ASCII counts one token for each byte, the most there can be.
        """
        at_most = (self._text_bytes + self._dense_bytes) // 2
        # `output_so_far` inlined: saves a function call for each delta.
        return max(at_most, self._written // 3, self._deltas, self._claimed)

    def reading(self) -> UsageReading:
        reading = _reading(self._usage or None, self._model, complete=self.finished)
        if self._events.lost and not reading.problem:
            return msgspec.structs.replace(reading, problem="an event was too large to read")
        return reading


def _frame_of(delta: bytes) -> int:
    """How many bytes of this delta's event are not its text."""
    try:
        fields = msgspec.json.decode(delta)["delta"]
        text = max((value for name, value in fields.items() if name != "type"), key=len)
        written = json.dumps(text, ensure_ascii=delta.isascii(), separators=(",", ":"))
        return max(1, len(delta) - len(written.encode()) + 2)
    except (*UNREADABLE, KeyError, TypeError, ValueError, AttributeError):
        return _USUAL_FRAME
