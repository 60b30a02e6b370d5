"""The sandbox upstream: a deterministic stand-in for EzAI, without Django, never reachable in production."""

import asyncio
import hashlib
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from proxy.sandbox.answers import (
    SandboxCall,
    anthropic_events,
    anthropic_json,
    embeddings_json,
    openai_events,
    openai_json,
    read_call,
)
from proxy.sandbox.directives import Directives, directives_of

Send = Callable[[dict[str, Any]], Awaitable[None]]
TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}
TYPES |= {429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}
EMBEDDINGS = "/v1/embeddings"
HTML = b"<!DOCTYPE html><html><head><title>524: A timeout occurred</title></head></html>"


class Sandbox:
    """The ASGI application. `journal`: a file that gets one JSON line for each call it would bill."""

    def __init__(self, journal: Path | None = None) -> None:
        self._journal = journal.open("a", buffering=1) if journal else None
        self._numbers = itertools.count(1)

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send
    ) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        await self._answer(scope["path"], headers, body, send)

    async def _answer(self, path: str, headers: dict[str, str], body: bytes, send: Send) -> None:
        openai = path in ("/v1/chat/completions", EMBEDDINGS)
        number = next(self._numbers)
        call_id = hashlib.blake2b(body + str(number).encode(), digest_size=12).hexdigest()
        if not (headers.get("x-api-key") or headers.get("authorization")):
            return await _error(send, 401, "a key is needed", call_id, openai)
        if path == "/v1/models":
            return await _json(send, {"data": [], "object": "list", "has_more": False}, call_id)
        try:
            directives = directives_of(body, headers.get("x-sandbox", ""))
            prompt = "input" if path == EMBEDDINGS else "messages"
            call = read_call(body, call_id=call_id, directives=directives, prompt=prompt)
        except (ValueError, msgspec.ValidationError) as error:
            return await _error(send, 400, str(error), call_id, openai)
        if directives.hang:
            await asyncio.sleep(3600)
        await asyncio.sleep(directives.latency_ms / 1000)
        if directives.html:
            return await _send(
                send, directives.status if directives.status != 200 else 524, HTML, "text/html", call_id
            )
        if directives.status != 200:
            return await _error(send, directives.status, "as the directive says", call_id, openai, directives)
        if path == "/v1/messages/count_tokens":
            return await _json(send, {"input_tokens": call.input_tokens}, call_id)
        if path not in ("/v1/messages", "/v1/chat/completions", EMBEDDINGS):
            return await _error(send, 404, f"no such path: {path}", call_id, openai)
        self._note(call, openai, headers.get("x-tenantry-request", ""))
        if path == EMBEDDINGS:
            texts = json.loads(body)["input"]
            count = len(texts) if isinstance(texts, list) and not isinstance(texts[0], int) else 1
            return await _json(send, embeddings_json(call, count), call_id)
        if call.stream:
            return await _stream(send, (openai_events if openai else anthropic_events)(call), call, openai)
        return await _json(send, (openai_json if openai else anthropic_json)(call), call_id)

    def _note(self, call: SandboxCall, openai: bool, request_id: str) -> None:
        """Write to the journal before the answer: a call is billed whether or not its answer arrives."""
        if self._journal is not None:
            line: dict[str, Any] = {
                "id": call.id,
                "model": call.model,
                "wire": "openai" if openai else "anthropic",
                "request_id": request_id,
            }
            line |= {"input_tokens": call.input_tokens, "output_tokens": call.output_tokens}
            self._journal.write(json.dumps(line) + "\n")


async def _stream(send: Send, events: Iterator[bytes], call: SandboxCall, openai: bool) -> None:
    directives = call.directives
    await _head(send, 200, "text/event-stream; charset=utf-8", call.id)
    for position, event in enumerate(events, 1):
        await send({"type": "http.response.body", "body": event, "more_body": True})
        if directives.error_after == position:
            error = json.dumps(_error_body(529, "Overloaded", call.id, openai))
            await send({"type": "http.response.body", "body": f"event: error\ndata: {error}\n\n".encode()})
            return
        if directives.cut_after == position:
            break
        if directives.delta_ms:
            await asyncio.sleep(directives.delta_ms / 1000)
    await send({"type": "http.response.body", "body": b""})


def _error_body(status: int, message: str, call_id: str, openai: bool) -> dict[str, Any]:
    kind = TYPES.get(status, "api_error")
    if openai:
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": f"req_{call_id}"}


async def _error(
    send: Send, status: int, message: str, call_id: str, openai: bool, directives: Directives | None = None
) -> None:
    extra = (
        [(b"retry-after", str(directives.retry_after).encode())]
        if directives and directives.retry_after
        else []
    )
    body = json.dumps(_error_body(status, message, call_id, openai)).encode()
    await _send(send, status, body, "application/json", call_id, extra)


async def _json(send: Send, body: dict[str, Any], call_id: str) -> None:
    await _send(send, 200, json.dumps(body).encode(), "application/json", call_id)


async def _send(
    send: Send,
    status: int,
    body: bytes,
    kind: str,
    call_id: str,
    extra: list[tuple[bytes, bytes]] | None = None,
) -> None:
    await _head(send, status, kind, call_id, [(b"content-length", str(len(body)).encode()), *(extra or [])])
    await send({"type": "http.response.body", "body": body})


async def _head(
    send: Send, status: int, kind: str, call_id: str, extra: list[tuple[bytes, bytes]] | None = None
) -> None:
    headers = [(b"content-type", kind.encode()), (b"request-id", f"req_{call_id}".encode()), *(extra or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
