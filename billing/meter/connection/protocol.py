"""One connection's bytes: commands go out, replies come back in order, and an error reply becomes its exception."""

import asyncio
from collections import deque
from typing import Any

import hiredis

from billing.meter.errors import MeteringUnavailable

_AWAY = {
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "BUSY",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
    # The password was changed, or is not loaded yet.
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
}
_ELSEWHERE = {"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"}


class AnswerLost(MeteringUnavailable):
    """The command was sent. It may have been executed, or may still be."""


class Elsewhere(MeteringUnavailable):
    """The command was not executed: a cluster's node says to send it to another node, or again later.

    `kind` is MOVED, ASK, TRYAGAIN or CLUSTERDOWN. `target` is `host:port` for the first two, else empty.
    """

    def __init__(self, kind: str, target: str) -> None:
        super().__init__(
            f"The metering store is a cluster that is not ready or not configured as one ({kind})."
        )
        self.kind, self.target = kind, target


def failure_of(reply: hiredis.ReplyError) -> Exception:
    """The error for a Redis error reply. A server that cannot serve now counts as away, whatever its reason."""
    kind, _, rest = str(reply).partition(" ")
    if kind in _ELSEWHERE:
        return Elsewhere(kind, rest.partition(" ")[2] if kind in ("MOVED", "ASK") else "")
    if kind in _AWAY or rest.startswith("max number of clients"):
        return MeteringUnavailable(f"The metering store is not ready ({reply}).")
    return reply


class RedisConnection(asyncio.Protocol):
    """Writes commands and reads their replies, in order."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._outgoing: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport is a Transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            _, future = self._waiting.popleft()
            if future.done():
                continue
            if isinstance(reply, hiredis.ReplyError):
                future.set_exception(failure_of(reply))
            else:
                future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(AnswerLost("The metering store closed the connection."))

    def send(self, command: bytes) -> asyncio.Future[Any]:
        """Write at once, with what waits to be written, so that Redis works while this turn of the loop goes on."""
        future = self._expected()
        if not future.done():
            self._outgoing.append(command)
            self._flush()
        return future

    def post(self, command: bytes) -> asyncio.Future[Any]:
        """Write by the end of this turn. Nobody waits for the reply, so commands can share a system call."""
        if not self._waiting:
            return self.send(command)
        future = self._expected()
        if not future.done():
            if not self._outgoing:
                self._loop.call_soon(self._flush)
            self._outgoing.append(command)
        return future

    def _expected(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.lost:
            future.set_exception(MeteringUnavailable("The metering store is not reachable."))
        else:
            self._waiting.append((self._loop.time(), future))
        return future

    @property
    def has_more(self) -> bool:
        """Whether commands wait to be written at the end of this turn."""
        return bool(self._outgoing)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if outgoing and self._transport is not None and not self.lost:
            self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))

    def oldest_wait(self) -> float:
        """Seconds the first unanswered command has waited."""
        return self._loop.time() - self._waiting[0][0] if self._waiting else 0.0

    def abort(self) -> None:
        self.lost = True
        if self._transport is not None:
            self._transport.abort()
