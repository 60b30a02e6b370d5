"""Bodies and streams as the wires carry them."""

import json

from proxy.dialects import ANTHROPIC

BODY = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}


START = {
    "type": "message_start",
    "message": {"model": "m", "usage": {"input_tokens": 25, "output_tokens": 1}},
}


EVENTS = [
    START,
    {"type": "ping"},
    {"type": "of_a_later_version", "x": None},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "naïve 🎈"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}},
    {"type": "message_stop"},
]


def encoded(value):
    return json.dumps(value).encode()


def stream(events, newline="\n"):
    return "".join(
        f"event: {event['type']}{newline}data: {json.dumps(event, ensure_ascii=False)}{newline}{newline}"
        for event in events
    ).encode()


def openai_stream(usage=True):
    chunks: list[dict[str, object]] = [{"model": "m", "choices": [{"delta": {"content": "hi"}}]}]
    if usage:
        told = {"prompt_tokens": 3, "completion_tokens": 4}
        chunks.append({"model": "m", "choices": [], "usage": told})
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"]


def parse(body, dialect=ANTHROPIC, headers=None):
    return dialect.parse(body if isinstance(body, bytes) else encoded(body), headers or {})
