"""uvicorn's HTTP/1.1 with two bounds it does not have: how large a request's head may be, and how slow; and with a
message for an answer that is whole.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 20.0
# An ASGI extension, and the type of its message: `status`, `headers` (lower-case names, their content-length among
# them, none of `connection`) and `body`.
WHOLE_ANSWER = "tenantry.http.response.whole"
# An ASGI extension: a function that is given what to call, without arguments, when the caller leaves.
ON_DISCONNECT = "tenantry.http.on_disconnect"


class _Cycle(RequestResponseCycle):
    """Sends a whole answer in one step: by ASGI's two messages it costs 9 µs more, of which most is a look at each
    header by two regular expressions. And tells of a caller who leaves: to wait for that by `receive` is 7 µs.
    """

    _told: Callable[[], None] | None = None

    def tell(self, told: Callable[[], None] | None) -> None:
        """Have `told` called when the caller leaves before the answer is complete; `None`: nobody any more."""
        self._told = told
        self.flow.resume_reading()  # else nobody would see the end

    def left(self) -> None:
        if self._told is not None and not self.response_complete:
            self._told()

    async def send(self, message: Any) -> None:
        if message["type"] != WHOLE_ANSWER:
            await super().send(message)
        elif self.flow.write_paused or not self.keep_alive or self.scope["method"] == "HEAD":
            start: Any = {**message, "type": "http.response.start"}
            body: Any = {"type": "http.response.body", "body": message["body"]}
            await super().send(start)
            await super().send(body)
        elif not self.disconnected:
            head = _head(message["status"], [*self.default_headers, *message["headers"]])
            self.response_started = self.response_complete = True
            self.transport.write(head + message["body"])
            self.message_event.set()
            self.on_response()


def _head(status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Raises RuntimeError, as uvicorn does, for a header that would add a line."""
    block = b"".join([b"%b: %b\r\n" % field for field in headers])
    if not (block.count(b"\r") == block.count(b"\n") == len(headers)) or b"\0" in block:
        raise RuntimeError("Invalid HTTP header value.")
    return b"%b%b\r\n" % (STATUS_LINE[status], block)


class BoundedProtocol(HttpToolsProtocol):
    """A head that does not end is answered 431 or closed; without this it would be gathered for ever.

    A head that comes in one piece, as nearly all do, costs two attribute writes.
    """

    _in_head = True
    _head_bytes = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)
        if isinstance(self.cycle, _Cycle):
            self.cycle.left()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            if self._deadline is not None:
                self._rest()
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES:
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = _Cycle  # uvicorn names its class inside of a function of forty lines
        assert isinstance(cycle, _Cycle)
        cycle.scope["extensions"] = {WHOLE_ANSWER: {}, ON_DISCONNECT: cycle.tell}  # type: ignore[dict-item]  # ours
        super()._start_asgi_task(cycle, app)

    def _rest(self) -> None:
        self._head_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
