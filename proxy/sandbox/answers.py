"""The sandbox's answers in each wire format: deterministic text, and usage as a real upstream reports it."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from proxy.sandbox.directives import Directives

WORDS = [
    "The",
    "sandbox",
    "answers",
    "the",
    "same",
    "words",
    "every",
    "time",
    "so",
    "that",
    "a",
    "test",
    "can",
    "be",
    "run",
    "again",
]
BYTES_A_TOKEN = 4


class SandboxCall(msgspec.Struct, frozen=True):
    """One request as the sandbox understands it."""

    id: str
    model: str
    stream: bool
    max_tokens: int
    input_tokens: int
    output_tokens: int
    wants_usage: bool
    directives: Directives
    choices: int = 1

    @property
    def cut_by_limit(self) -> bool:
        return self.output_tokens >= self.max_tokens

    @property
    def pieces(self) -> list[str]:
        """The text in as many deltas as the directives say, else at most eight and no more than tokens."""
        words = max(1, min(self.output_tokens, 64)) if self.output_tokens else 0
        count = self.directives.deltas or min(words, 8)
        return [
            "".join(f"{WORDS[(index + more) % len(WORDS)]} " for more in range(self.directives.delta_words))
            for index in range(count)
        ]


def read_call(body: bytes, *, call_id: str, directives: Directives, prompt: str = "messages") -> SandboxCall:
    """Parse a call; its prompt is the member `prompt`. Raises ValueError with the message to answer."""
    try:
        read = json.loads(body)
    except ValueError as error:
        raise ValueError("the body is not JSON") from error
    if not isinstance(read, dict):
        raise ValueError("the body is no JSON object")
    for field in ("model", prompt):
        if not read.get(field):
            raise ValueError(f"{field}: field required")
    limit = read.get("max_completion_tokens", read.get("max_tokens", 4096))
    if not isinstance(limit, int) or limit < 0:
        raise ValueError("max_tokens: must be a whole number of at least 0")
    text = json.dumps([read.get("system", ""), read[prompt], read.get("tools", "")], ensure_ascii=False)
    wanted = 50 if directives.output_tokens is None else directives.output_tokens
    seen = -(-len(text.encode()) // BYTES_A_TOKEN)
    return SandboxCall(
        id=call_id,
        model=directives.model or str(read["model"]),
        stream=bool(read.get("stream")),
        max_tokens=limit,
        input_tokens=seen if directives.input_tokens is None else directives.input_tokens,
        output_tokens=min(wanted, limit) * (read.get("n") or 1),
        wants_usage=bool((read.get("stream_options") or {}).get("include_usage")),
        directives=directives,
        choices=read.get("n") or 1,
    )


def _usage(call: SandboxCall) -> dict[str, Any]:
    directives = call.directives
    return {
        "input_tokens": call.input_tokens,
        "cache_creation_input_tokens": directives.cache_write_5m_tokens + directives.cache_write_1h_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": directives.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": directives.cache_write_1h_tokens,
        },
        "cache_read_input_tokens": directives.cache_read_tokens,
        "output_tokens": call.output_tokens,
        "server_tool_use": {"web_search_requests": directives.web_searches},
        "service_tier": "standard",
    }


def anthropic_json(call: SandboxCall) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "id": f"msg_{call.id}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": [{"type": "text", "text": "".join(call.pieces)}],
        "stop_reason": "max_tokens" if call.cut_by_limit else "end_turn",
        "stop_sequence": None,
    }
    return answer if call.directives.no_usage else {**answer, "usage": _usage(call)}


def anthropic_events(call: SandboxCall) -> Iterator[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    message = {**anthropic_json(call), "content": [], "stop_reason": None}
    if not call.directives.no_usage:
        message["usage"] = {**_usage(call), "output_tokens": 1}
    yield event("message_start", message=message)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield event("ping")
    for piece in call.pieces:
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    yield event("content_block_stop", index=0)
    stop = {"stop_reason": "max_tokens" if call.cut_by_limit else "end_turn", "stop_sequence": None}
    usage = {} if call.directives.no_usage else {"usage": {"output_tokens": call.output_tokens}}
    yield event("message_delta", delta=stop, **usage)
    yield event("message_stop")


def _openai_usage(call: SandboxCall) -> dict[str, Any]:
    cached = call.directives.cache_read_tokens
    prompt = call.input_tokens + cached
    return {
        "prompt_tokens": prompt,
        "completion_tokens": call.output_tokens,
        "total_tokens": prompt + call.output_tokens,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def openai_json(call: SandboxCall) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(call.pieces), "refusal": None}
    reason = "length" if call.cut_by_limit else "stop"
    answer: dict[str, Any] = {
        "id": f"chatcmpl-{call.id}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": call.model,
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": reason}
            for index in range(call.choices)
        ],
    }
    return answer if call.directives.no_usage else {**answer, "usage": _openai_usage(call)}


def openai_events(call: SandboxCall) -> Iterator[bytes]:
    def chunk(choices: list[Any], **fields: Any) -> bytes:
        head = {
            "id": f"chatcmpl-{call.id}",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": call.model,
        }
        return f"data: {json.dumps({**head, 'choices': choices, **fields})}\n\n".encode()

    yield chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
    for piece in call.pieces:
        yield chunk([{"index": 0, "delta": {"content": piece}, "finish_reason": None}])
    yield chunk([{"index": 0, "delta": {}, "finish_reason": "length" if call.cut_by_limit else "stop"}])
    if call.wants_usage and not call.directives.no_usage:
        yield chunk([], usage=_openai_usage(call))
    yield b"data: [DONE]\n\n"


def embeddings_json(call: SandboxCall, inputs: int) -> dict[str, Any]:
    """The same short vector for every text, of no use for comparisons."""
    vectors = [
        {"object": "embedding", "index": index, "embedding": [0.5, -0.5, 0.5, 0.5]} for index in range(inputs)
    ]
    usage = {"prompt_tokens": call.input_tokens, "total_tokens": call.input_tokens}
    return {"object": "list", "data": vectors, "model": call.model, "usage": usage}
