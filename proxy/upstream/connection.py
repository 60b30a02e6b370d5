"""One HTTP/1.1 connection to an upstream: sends a request, parses the answer, and watches the time."""

import asyncio

import httptools
import httpx

from proxy.dialects.headers import RawHeaders

# With more unread bytes of a body than this, reading pauses until some are taken.
HIGH_WATER = 256 * 1024


class Connection(asyncio.Protocol):
    """One connection, for one exchange at a time. `status` and `headers` are the current answer's."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._unread = 0
        self._paused = False
        self._complete = True
        self._lost: httpx.TransportError | None = None
        self._headed = False
        self._waiter: asyncio.Future[None] | None = None
        self._patience = 0.0
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.last_byte_at = self._loop.time()
        self.status = 0
        self.headers: RawHeaders = []

    @property
    def reusable(self) -> bool:
        return self._complete and self._lost is None and not self._transport.is_closing()

    async def ask(self, head: bytes, body: bytes, *, patience: float, total: float) -> None:
        """Send a request and wait for the head of its answer. Raises httpx's TransportErrors.

        `patience`: the most seconds without a byte. `total`: the most seconds until the answer's last byte.
        """
        self.headers = []
        self._headed = self._complete = False
        self._patience = patience
        self.last_byte_at = self._loop.time()
        self._deadline = self.last_byte_at + total
        self._check_clock_at(self.last_byte_at + min(patience, total))
        if len(body) < HIGH_WATER:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)  # not joined: a copy of 5 MB costs 1 ms
        while not self._headed:
            await self._wait()

    async def piece(self) -> bytes | None:
        """What has come of the body since the last call; `None` at its end.

        Chunks that came in one packet are returned as one, since most of a stream's work is done for each piece.
        """
        while not self._pieces:
            if self._complete:
                return None
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            await self._wait()
        piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._unread = 0
        return piece

    async def rest(self) -> bytes:
        """The rest of the body, to its end."""
        pieces = []
        while (piece := await self.piece()) is not None:
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def forget(self) -> None:
        """Drop what nobody has read of the answer: it must never become part of the next one."""
        self._pieces.clear()
        self._unread = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        self._end()
        self._transport.abort()

    async def _wait(self) -> None:
        """Wait until something arrives. Raises what went wrong."""
        if self._lost is not None:
            raise self._lost
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._lost is not None and not self._pieces and not self._complete:
            raise self._lost

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: httpx.TransportError) -> None:
        if self._lost is None:
            self._lost = error
        self._end()
        self._wake()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_clock_at(self, moment: float) -> None:
        """Set the timer. It outlives the exchange: the next one's is nearly always later, and is moved from there."""
        if self._timer is None or moment < self._timer_at:
            self._end()
            self._timer = self._loop.call_at(moment, self._check_clock)
            self._timer_at = moment

    def _check_clock(self) -> None:
        self._timer = None
        if self._complete:
            return
        now = self._loop.time()
        silent, left = now - self.last_byte_at, self._deadline - now
        if left > 0 and (silent < self._patience or self._paused):
            self._check_clock_at(now + max(0.01, min(self._patience - silent, left)))
            return
        late = f"no byte within {self._patience} s" if left > 0 else "not over in time"
        self._fail(httpx.ReadTimeout(late))
        self._transport.abort()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # of a stream socket

    def data_received(self, data: bytes) -> None:
        self.last_byte_at = self._loop.time()
        if self._complete:
            # Bytes that belong to no request must not become the next answer.
            self._lost = httpx.RemoteProtocolError("bytes after the answer")
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(httpx.RemoteProtocolError(f"not HTTP: {error}"))
            self._transport.abort()
            return
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._complete:
            self._end()
            self._lost = self._lost or httpx.ReadError("closed while idle")
        elif self._headed and self._until_close:
            self.on_message_complete()
            self._lost = httpx.ReadError("closed")
            self._wake()
        else:
            what = "in the middle of its answer" if self._headed else "without an answer"
            self._fail(httpx.ReadError(f"the upstream closed {what}"))

    # httptools' callbacks

    def on_message_begin(self) -> None:
        if self._complete:
            # In the packet that ended the last answer: see `data_received`.
            self._lost = httpx.RemoteProtocolError("bytes after the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._complete:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._complete:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:
            return
        names = {name for name, _ in self.headers}
        self._until_close = not names & {b"content-length", b"transfer-encoding"}
        self._headed = True

    def on_body(self, body: bytes) -> None:
        if self._complete:
            return
        self._pieces.append(body)
        self._unread += len(body)
        if self._unread > HIGH_WATER and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._complete:
            return
        if self.status < 200:
            self.headers = []  # 100 Continue, 103 Early Hints: the answer is still to come
            return
        self._complete = True
        if not self._parser.should_keep_alive():
            self._lost = httpx.ReadError("the upstream keeps no connection")
