"""uvicorn's HTTP/1.1 protocol, with three additions.

It bounds the size of a request's head and the time it may take to arrive. It gives the data plane two shortcuts past
ASGI's messages: send a whole response, and be called at a disconnect. It shuts down without losing a call.
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
# Called when a request ends early; the argument is true if the server stops, false if the caller left.
DisconnectCallback = Callable[[bool], None]
_STOPPING = b'{"error":{"type":"api_error","code":"gateway_stopping","message":"The gateway is stopping. Try again."}}'


class _Cycle(RequestResponseCycle):
    """One request, with the two extensions that ASGI has no messages for."""

    _callback: DisconnectCallback | None = None

    def on_disconnect(self, callback: DisconnectCallback) -> None:
        """Call `callback` if the caller leaves, or the server stops, before the response is complete.

        Waiting for `http.disconnect` with `receive` takes a coroutine, an event and a future instead: 7 µs.
        """
        self._callback = callback
        self.flow.resume_reading()  # a disconnect is only seen while the transport reads

    def caller_left(self) -> None:
        if self._callback is not None and not self.response_complete:
            self._callback(False)

    def cut(self) -> None:
        """End this request now. The application words the last bytes if it registered a callback; else it is a 503."""
        self.keep_alive = False
        self.flow.resume_writing()  # the last bytes must not wait for a caller who reads slowly
        if self._callback is not None:
            self._callback(True)
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
        """Send a whole response at once. False, with nothing sent, if it has to go through ASGI's messages.

        `headers` have lower-case names, with `content-length` and without `connection`. Saves 9 µs, most of it
        uvicorn's two regular expressions for each header.
        """
        if self.flow.write_paused or not self.keep_alive or self.scope["method"] == "HEAD":
            return False
        if not self.disconnected:
            head = _head(status, [*self.default_headers, *headers])
            self.response_started = self.response_complete = True
            self.transport.write(head + body)
            self.message_event.set()
            self.on_response()
        # Break the reference cycle, or each request would be work for the garbage collector.
        self._callback = None
        self.scope.pop("extensions", None)
        return True


def _head(status: int, headers: Headers) -> bytes:
    """Status line and headers. Raises RuntimeError, as uvicorn does, for a header with a line break."""
    block = b"".join([b"%b: %b\r\n" % field for field in headers])
    if not (block.count(b"\r") == block.count(b"\n") == len(headers)) or b"\0" in block:
        raise RuntimeError("Invalid HTTP header value.")
    return b"%b%b\r\n" % (STATUS_LINE[status], block)


class BoundedProtocol(HttpToolsProtocol):
    """Answers a head that is too large with 431, and closes the connection of one that does not end in time.

    uvicorn alone would buffer it without limit. A head that arrives in one piece, as nearly all do, costs two attribute
    writes.
    """

    _in_head = True
    _head_bytes = 0
    _deadline: asyncio.TimerHandle | None = None
    _running: _Cycle | None = None
    _stopping = False
    _idle_since: float | None = None  # the loop's time, known only while the server stops

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # The kernel may have accepted the connection before the server stopped.
        self._stopping = getattr(self.server_state, "stopping", False)
        self._deadline = self.loop.call_later(HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)
        running = self._running
        if running is not None and not running.response_complete:
            # uvicorn notifies the request that came last, which may still wait in the pipeline.
            running.disconnected = True
            running.message_event.set()
            running.caller_left()

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
        cycle.__class__ = _Cycle  # uvicorn has no hook to choose the class
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
        """Finish the requests that have begun to arrive, then close.

        A response whose head has not told of the close leaves the connection open: its caller may send the next request
        at once, and a close would reset it.
        """
        self._stopping = True
        if self.is_serving and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def close_if_idle(self, seconds: float) -> None:
        """Close the connection if no request has been served or begun to arrive for `seconds`. Call this often."""
        if self.is_serving or self._head_bytes or self.transport.is_closing() or self._has_unread():
            self._idle_since = None
            return
        now = self.loop.time()
        if self._idle_since is None:
            self._idle_since = now
        if now - self._idle_since >= seconds:
            self.transport.close()

    def cut(self) -> None:
        """End the request being served now, and the connection with it."""
        self.pipeline.clear()
        if self._running is not None and self.is_serving:
            self._running.cut()
        else:
            self.transport.close()

    def _has_unread(self) -> bool:
        """Whether the socket holds bytes that the event loop has not read yet."""
        descriptor = self.transport.get_extra_info("socket").fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def _rest(self) -> None:
        self._head_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
