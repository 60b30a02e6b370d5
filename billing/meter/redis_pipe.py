"""The meter's connection to Redis: one for each process and server, shared by concurrent callers in order.

A client library's connection pool costs about 150 µs of CPU a call. Here a call costs one future, and a `write` that it
may share with the other calls of a turn of the event loop. For a cluster see `redis_cluster.py`.
"""

import asyncio
import hashlib
import ssl
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import hiredis
from redis.asyncio.connection import SSLConnection, parse_url

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
Argument = str | int | float | bytes | memoryview
Keys = TypeVar("Keys", bound=Sequence[Argument])
Arguments = TypeVar("Arguments", bound=Sequence[Argument])


def _pack(command: tuple[Argument, ...]) -> bytes:
    return hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub allows tuples of one member only


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


def _failure(reply: hiredis.ReplyError) -> Exception:
    """The error for a Redis error reply. A server that cannot serve now counts as away, whatever its reason."""
    kind, _, rest = str(reply).partition(" ")
    if kind in _ELSEWHERE:
        return Elsewhere(kind, rest.partition(" ")[2] if kind in ("MOVED", "ASK") else "")
    if kind in _AWAY or rest.startswith("max number of clients"):
        return MeteringUnavailable(f"The metering store is not ready ({reply}).")
    return reply


def bulk(*arguments: Argument) -> bytes:
    """Arguments packed as a part of a command, so that what many commands share is packed once."""
    packed = _pack(arguments)
    return packed[packed.index(b"\n") + 1 :]


class Script(Generic[Keys, Arguments]):
    """A file of `lua/`, known to Redis by its SHA-1. `scripts.py` has them all."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = (Path(__file__).parent / "lua" / f"{name}.lua").read_bytes()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()
        self.by_sha = bulk("EVALSHA", self.sha)
        self.by_source = bulk("EVAL", self.source)

    def call(self, keys: Keys, arguments: Arguments) -> "ScriptCall":
        return ScriptCall(self, keys[0], bulk(len(keys), *keys, *arguments), 1 + len(keys) + len(arguments))


class ScriptCall:
    """A script with its keys and arguments, packed in `body`.

    `count` is the number of packed values: keys, arguments, and the number of keys. `key` is any of the keys, which are
    all in one slot.
    """

    __slots__ = ("_body", "_count", "key", "script")

    def __init__(self, script: Script[Any, Any], key: Argument, body: bytes, count: int) -> None:
        self.script = script
        self.key = key
        self._body = body
        self._count = count + 2

    def packed(self) -> bytes:
        return b"*%d\r\n%b%b" % (self._count, self.script.by_sha, self._body)

    def with_source(self) -> bytes:
        """The call for a server that does not know the script yet; it does afterwards."""
        return b"*%d\r\n%b%b" % (self._count, self.script.by_source, self._body)


class _Connection(asyncio.Protocol):
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
                future.set_exception(_failure(reply))
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


class RedisPipe(ABC):
    """The meter's connection to Redis, one server or a cluster.

    Its methods raise MeteringUnavailable when Redis cannot be reached or does not reply in time, AnswerLost if the
    command may have been executed nevertheless. `generation` grows with every new connection: users then repeat what
    the old one may have lost.
    """

    generation: int

    def __init__(self) -> None:
        self._loading: dict[str, asyncio.Future[None]] = {}

    @abstractmethod
    async def send(self, command: bytes, key: Argument | None) -> Any:
        """The reply to one packed command, which touches `key` or, if that is `None`, no key (`TIME`)."""

    @abstractmethod
    async def close(self) -> None:
        """Drop every connection. The next call opens new ones."""

    async def call(self, *command: Argument) -> Any:
        """The reply to one command, as hiredis reads it (bytes, int, list or None)."""
        return await self.send(_pack(command), command[1] if len(command) > 1 else None)

    async def run(self, script: Script[Keys, Arguments], keys: Keys, arguments: Arguments) -> Any:
        """The reply of `script`."""
        return await self.execute(script.call(keys, arguments))

    async def execute(self, call: ScriptCall) -> Any:
        """The reply to `call`. Sends the script's source if Redis does not know it."""
        try:
            return await self.send(call.packed(), call.key)
        except hiredis.ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        loading = self._loading.get(call.script.sha)
        if loading is not None:
            # After a restart a thousand callers meet this at once: one sends the source, the others wait.
            await loading
            return await self.execute(call)
        loading = self._loading[call.script.sha] = asyncio.get_running_loop().create_future()
        try:
            return await self.send(call.with_source(), call.key)
        finally:
            del self._loading[call.script.sha]
            loading.set_result(None)

    async def sent(self) -> None:
        """Return once every call that was started has been written."""
        await asyncio.sleep(0)  # the calls' tasks start
        await asyncio.sleep(0)  # and write

    def start(self, call: ScriptCall) -> asyncio.Future[Any]:
        """Start `call`. It fails for a script that Redis does not know. A `NodePipe` needs no task for it."""
        return asyncio.ensure_future(self.send(call.packed(), call.key))


class NodePipe(RedisPipe):
    """One connection, which reconnects on the next call. `timeout` seconds bound every reply."""

    def __init__(self, url: str, *, timeout: float = 1.0) -> None:
        super().__init__()
        self._options = parse_url(url)
        self._timeout = timeout
        self._connection: _Connection | None = None
        self._connecting: asyncio.Lock = asyncio.Lock()
        self._watch: asyncio.TimerHandle | None = None
        self.generation = 0

    async def send(self, command: bytes, key: Argument | None) -> Any:
        connection = self._connection
        if connection is None or connection.lost:
            connection = await self._connect()
        return await connection.send(command)

    async def send_asking(self, command: bytes) -> Any:
        """`send` for a slot that is being moved to this node."""
        connection = self._connection
        if connection is None or connection.lost:
            connection = await self._connect()
        # Nothing may come between the two commands, so both are written before either reply is awaited.
        asking, reply = connection.send(_pack(("ASKING",))), connection.send(command)
        await asyncio.wait((asking, reply))
        asking.exception()
        return reply.result()

    async def sent(self) -> None:
        connection = self._connection
        if connection is None or connection.lost:
            await super().sent()
        elif connection.has_more:
            await asyncio.sleep(0)

    def start(self, call: ScriptCall) -> asyncio.Future[Any]:
        """Start `call`, written by the end of this turn of the loop: 5 µs less than in a task."""
        connection = self._connection
        if connection is None or connection.lost:
            return super().start(call)
        return connection.post(call.packed())

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        if self._connection is not None:
            self._connection.abort()

    async def _connect(self) -> _Connection:
        async with self._connecting:
            if self._connection is not None and not self._connection.lost:
                return self._connection
            try:
                async with asyncio.timeout(self._timeout):
                    connection = await self._open()
            except (OSError, TimeoutError) as error:
                raise MeteringUnavailable("The metering store is not reachable.") from error
            self._connection = connection
            self.generation += 1
            self._arm()
            return connection

    async def _open(self) -> _Connection:
        loop = asyncio.get_running_loop()
        options = self._options
        if "path" in options:
            _, connection = await loop.create_unix_connection(_Connection, options["path"])
        else:
            secure = (
                ssl.create_default_context() if options.get("connection_class") is SSLConnection else None
            )
            _, connection = await loop.create_connection(
                _Connection, options.get("host", "127.0.0.1"), options.get("port", 6379), ssl=secure
            )
        if password := options.get("password"):
            user = [options["username"]] if options.get("username") else []
            await connection.send(_pack(("AUTH", *user, password)))
        if database := options.get("db"):
            await connection.send(_pack(("SELECT", database)))
        return connection

    def _arm(self) -> None:
        """Set the one timer of all calls: a timer for each would cost more than the calls."""
        if self._watch is not None:
            self._watch.cancel()
        self._watch = asyncio.get_running_loop().call_later(self._timeout / 4, self._check)

    def _check(self) -> None:
        connection = self._connection
        if connection is None or connection.lost:
            return
        if connection.oldest_wait() > self._timeout:
            connection.abort()
        else:
            self._arm()
