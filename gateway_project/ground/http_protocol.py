"""uvicorn's HTTP/1.1 with two bounds it does not have: how large a request's head may be, and how slow; with two
short ways for what nearly every call of the data plane does; and with an end that loses no call.
"""

import asyncio
import select
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 20.0
Headers = list[tuple[bytes, bytes]]
# Two ASGI extensions of this server, both functions in `scope["extensions"]`: see `_Cycle`.
SEND_WHOLE = "tenantry.http.send_whole"
ON_DISCONNECT = "tenantry.http.on_disconnect"
# What is told of a call's early end: whether it is the server that stops, and not the caller who left.
Told = Callable[[bool], None]
_STOPPING = b'{"error":{"type":"api_error","code":"gateway_stopping","message":"The gateway is stopping. Try again."}}'


class _Cycle(RequestResponseCycle):
    """What ASGI has no messages for."""

    _told: Told | None = None

    def on_disconnect(self, told: Told) -> None:
        """Have `told` called when the caller leaves, or the server stops, before the answer is complete. To wait for
        it by `receive` takes a coroutine, an event and a future: 7 µs.
        """
        self._told = told
        self.flow.resume_reading()  # else nobody would see the end

    def left(self) -> None:
        if self._told is not None and not self.response_complete:
            self._told(False)

    def cut(self) -> None:
        """End this call now: whoever serves it says so in the caller's own words, if it asked to be told."""
        self.keep_alive = False
        self.flow.resume_writing()  # what is said last does not wait for a caller who reads slowly
        if self._told is not None:
            self._told(True)
            return
        if not self.response_started:
            self.transport.write(
                _head(
                    503,
                    [
                        (b"content-type", b"application/json"),
                        (b"retry-after", b"1"),
                        (b"connection", b"close"),
                        (b"content-length", b"%d" % len(_STOPPING)),
                    ],
                )
                + _STOPPING
            )
        self.transport.close()

    def send_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        """Send all of an answer at once; false where it takes ASGI's messages. `headers`: lower-case names, their
        content-length among them and none of `connection`. Saves 9 µs, most of it a look at each header by two
        regular expressions.
        """
        if self.flow.write_paused or not self.keep_alive or self.scope["method"] == "HEAD":
            return False
        if not self.disconnected:
            head = _head(status, [*self.default_headers, *headers])
            self.response_started = self.response_complete = True
            self.transport.write(head + body)
            self.message_event.set()
            self.on_response()
        # Nothing is to be told any more; left there, each request would be a circle for the garbage collector.
        self._told = None
        self.scope.pop("extensions", None)
        return True


def _head(status: int, headers: Headers) -> bytes:
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
    _running: _Cycle | None = None
    _stopping = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # Accepted before the server stopped, and made after.
        self._stopping = getattr(self.server_state, "stopping", False)
        self._deadline = self.loop.call_later(HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)
        running = self._running
        if running is not None and not running.response_complete:
            # uvicorn tells the last one that came, which may be another one that waits for its turn.
            running.disconnected = True
            running.message_event.set()
            running.left()

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
        self._running = cycle
        if self._stopping and not self.pipeline:
            cycle.keep_alive = False
        extensions: Any = {SEND_WHOLE: cycle.send_whole, ON_DISCONNECT: cycle.on_disconnect}
        cycle.scope["extensions"] = extensions
        super()._start_asgi_task(cycle, app)

    @property
    def is_serving(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def stop(self) -> None:
        """Serve what is under way and what is being sent now, and close after that."""
        self._stopping = True
        if self.is_serving:
            self.cycle.keep_alive = False

    def close_if_idle(self) -> None:
        """Close a connection on which nothing is asked; one whose next request already came stays for it."""
        if not (self.is_serving or self._head_bytes or self.transport.is_closing() or self._has_unread()):
            self.transport.close()

    def cut(self) -> None:
        """End what is being served now, and the connection with it."""
        self.pipeline.clear()
        if self._running is not None and self.is_serving:
            self._running.cut()
        else:
            self.transport.close()

    def _has_unread(self) -> bool:
        """Whether bytes came that the event loop has not read yet."""
        descriptor = self.transport.get_extra_info("socket").fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def _rest(self) -> None:
        self._head_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
