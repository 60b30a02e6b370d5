"""Drives the ASGI application in process, as the product's server does, and can hang up at any moment."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway_project.asgi import application, data_plane
from gateway_project.ground.http_protocol import ON_DISCONNECT, SEND_WHOLE
from proxy.runtime import Runtime


@dataclass
class Answer:
    """What the application sent. `pieces` are the body's messages in order."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]


class Caller:
    """One request. `leave()` closes its connection. `plain`: through a server that knows ASGI and nothing else."""

    def __init__(
        self,
        *,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
        query: str = "",
        plain: bool = False,
    ) -> None:
        self.answer = Answer()
        self._on_leave: Callable[[], None] | None = None
        self.piece_came = asyncio.Event()
        self._body: bytes | None = body
        self._gone = asyncio.Event()
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "scheme": "http",
            "root_path": "",
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
            "headers": [
                (b"host", b"127.0.0.1"),
                (b"content-length", b"%d" % len(body)),
                *((name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()),
            ],
        }
        if not plain:
            self._scope["extensions"] = {SEND_WHOLE: self._send_whole, ON_DISCONNECT: self._on_disconnect}

    def leave(self) -> None:
        if self._on_leave is not None and not self._gone.is_set():
            asyncio.get_running_loop().call_soon(self._on_leave)
        self._gone.set()

    def _on_disconnect(self, callback: Callable[[], None]) -> None:
        self._on_leave = callback
        if self._gone.is_set():
            asyncio.get_running_loop().call_soon(callback)

    def _send_whole(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
        if not self._gone.is_set():
            self._begin(status, headers)
            self.answer.pieces.append(body)
            self._gone.set()
        return True

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.answer.status = status
        self.answer.headers = {name.decode(): value.decode("latin-1") for name, value in headers}

    async def call(self) -> Answer:
        await application(self._scope, self._receive, self._send)
        return self.answer

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if self._gone.is_set():
            return
        if message["type"] == "http.response.start":
            self._begin(message["status"], message["headers"])
        else:
            self.answer.pieces.append(message.get("body", b""))
            self.piece_came.set()
            if not message.get("more_body"):
                self._gone.set()  # servers report a disconnect once the answer is complete
        await asyncio.sleep(0)


def runtime() -> Runtime:
    """What the application in front of the test keeps between calls."""
    return data_plane.runtime


def new_runtime() -> None:
    """Begin as a process that has just been started."""
    data_plane.runtime = Runtime()


async def finished() -> None:
    """Return when nothing is left to do of the calls so far."""
    await data_plane.runtime.background.finish(seconds=5)


HELLO = {
    "model": "claude-sonnet-4-20250514",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}


def caller(
    key: str,
    body: Any = None,
    *,
    path: str = "/v1/messages",
    method: str = "POST",
    headers: dict[str, str] | None = None,
    query: str = "",
    plain: bool = False,
    **changes: Any,
) -> Caller:
    """A caller that sends HELLO with `changes`, or `body` as it is."""
    if body is None:
        body = json.dumps({name: value for name, value in {**HELLO, **changes}.items() if value is not ...})
    given = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
    if key:
        given["x-api-key"] = key
    return Caller(
        method=method,
        path=path,
        body=body.encode() if isinstance(body, str) else body,
        headers={**given, **(headers or {})},
        query=query,
        plain=plain,
    )


async def post(key: str, body: Any = None, **options: Any) -> Answer:
    return await caller(key, body, **options).call()


async def get(key: str, path: str, **options: Any) -> Answer:
    return await caller(key, b"", path=path, method="GET", **options).call()
