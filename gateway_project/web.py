"""Run web processes: one, or WEB_WORKERS of them on one socket, under a supervisor.

The socket was opened by a supervisor (LISTEN_FD) or by systemd (LISTEN_FDS), or is opened here on HOST and PORT. It
outlives the processes that serve it, so none of them drops waiting callers when it ends.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import select
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

import uvicorn
from django.core.exceptions import ImproperlyConfigured

from gateway_project.ground import env, logs
from gateway_project.ground.http_protocol import BoundedProtocol
from gateway_project.server.supervisor import READY_FD, Process, Supervisor

logger = logging.getLogger("tenantry.web")
# At the end, an idle connection stays open for a moment, since a proxy's next request may be on its way. Its response
# closes it.
IDLE_SECONDS = 1.0
# For cut calls to tell their callers and be settled.
CUT_SECONDS = 5.0
_TICK = 0.05
# The longest that a stopping process goes on to accept waiting connections.
ACCEPT_SECONDS = 1.0
# For handshakes that had begun when a socket stopped taking new ones.
HANDSHAKE_SECONDS = 0.05
_SYSTEMD_FIRST = 3  # the first descriptor of systemd's socket activation


def configured(**changes: object) -> uvicorn.Config:
    """uvicorn's configuration for the product, with `changes`."""
    options: dict[str, object] = {
        "loop": "uvloop",
        "http": BoundedProtocol,
        "ws": "none",
        "lifespan": "auto",
        "access_log": False,
        "proxy_headers": False,  # see `gateway_project/client_address.py`
        "server_header": False,
        "log_level": "warning",
        "log_config": None,  # logging is configured already
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": env.shutdown_grace(),
    }
    return uvicorn.Config("gateway_project.asgi:application", **(options | changes))  # type: ignore[arg-type]  # uvicorn's own options


class Server(uvicorn.Server):
    """uvicorn's server with its own shutdown: open calls get time to finish, and then an error, not a broken
    connection.

    At SIGTERM or SIGINT it takes no new connections, and each response closes its own. After SHUTDOWN_GRACE_SECONDS, or
    at a second signal, open calls are cut with an error in their dialect. `owned`: nobody else serves its sockets.
    """

    def __init__(
        self, config: uvicorn.Config, *, ready: Callable[[], None] | None = None, owned: bool = False
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._owned = owned
        self._hurries = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready is not None:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._hurries = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.server_state.stopping = True  # type: ignore[attr-defined]  # read by connections that are being accepted
        await self._accept_waiting(sockets or ())
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in list(self._connections):
            connection.stop()
        loop = asyncio.get_running_loop()
        grace = self.config.timeout_graceful_shutdown or 0
        ends = loop.time() + grace
        await self._until_over(min(ends, loop.time() + IDLE_SECONDS))
        if calls := self._serving():
            logger.warning(
                "Stopping: %d open calls have %d s to finish. To end them now, press Ctrl-C again.",
                calls,
                grace,
            )
        await self._until_over(ends)
        await self._cut()
        await self.lifespan.shutdown()

    async def _accept_waiting(self, listeners: Iterable[socket.socket]) -> None:
        """Accept connections that still wait: they are reset when the last process with the socket ends.

        Nothing is awaited between the last check and the caller's `close`.
        """
        if self._owned:
            refuse_more(listeners)
            await asyncio.sleep(HANDSHAKE_SECONDS)
        loop = asyncio.get_running_loop()
        ends = loop.time() + ACCEPT_SECONDS
        while is_waited_at(listeners) and loop.time() < ends:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0)  # each turn of the loop accepts one more

    @property
    def _connections(self) -> set[BoundedProtocol]:
        return self.server_state.connections  # type: ignore[return-value]  # the protocol is the one configured

    def _serving(self) -> int:
        return sum(connection.is_serving for connection in self._connections)

    async def _until_over(self, ends: float) -> None:
        """Wait until no connection is left, until `ends` (the loop's time), or until a second signal."""
        loop, state = asyncio.get_running_loop(), self.server_state
        while (state.connections or state.tasks) and not self._hurries and loop.time() < ends:
            for connection in list(self._connections):
                connection.close_if_idle(IDLE_SECONDS)
            await asyncio.sleep(_TICK)

    async def _cut(self) -> None:
        if calls := self._serving():
            logger.warning("Ending %d call(s) that did not finish in time.", calls)
        for connection in list(self._connections):
            connection.cut()
        self._hurries = False
        await self._until_over(asyncio.get_running_loop().time() + CUT_SECONDS)
        # The rest have callers who left already or do not read.
        for task in list(self.server_state.tasks):
            task.cancel()
        for connection in list(self._connections):
            connection.transport.abort()
        await asyncio.sleep(0)


def main() -> None:
    logs.begin()
    try:
        _run()
    except (ImproperlyConfigured, OSError, OverflowError) as error:
        sys.exit(logs.line_of("web", f"web: {error}", level="CRITICAL"))


def _run() -> None:
    workers = env.integer("WEB_WORKERS", 1)
    if given := env.words("LISTEN_FD"):
        _serve([socket.socket(fileno=int(descriptor)) for descriptor in given], owned=False)
        return
    shared = _from_systemd()
    listeners = shared or _opened()
    if workers > 1:
        with _counters_in_one_place():
            asyncio.run(_supervise(listeners, workers, owned=not shared))
    else:
        _serve(listeners, owned=not shared)


def _serve(listeners: list[socket.socket], *, owned: bool) -> None:
    signal.signal(
        signal.SIGUSR2, signal.SIG_IGN
    )  # it is for supervisors, and would end the process by default
    Server(configured(), ready=_say_ready, owned=owned).run(sockets=listeners)


def _say_ready() -> None:
    """Tell the supervisor that this process serves, so that the one it replaces can be stopped."""
    if descriptor := env.integer(READY_FD, 0):
        os.write(descriptor, b"1")
        os.close(descriptor)


@contextlib.contextmanager
def _counters_in_one_place() -> Iterator[None]:
    """Make a folder for metrics if none is set: otherwise /metrics would report a different process each time."""
    name = "PROMETHEUS_MULTIPROC_DIR"
    if os.environ.get(name):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="tenantry-metrics-", ignore_cleanup_errors=True) as folder:
        os.environ[name] = folder
        yield


async def _supervise(listeners: list[socket.socket], workers: int, *, owned: bool) -> None:
    """Run `workers` processes on the same sockets. SIGUSR2 replaces them one by one, a second SIGTERM hurries."""
    descriptors = tuple(listener.fileno() for listener in listeners)
    given = {"LISTEN_FD": ",".join(map(str, descriptors))}
    command = [sys.executable, *_warnings(), "-m", "gateway_project.web"]
    supervisor = Supervisor(
        [
            Process(f"web.{number}", command, given, descriptors, rolls=True)
            for number in range(1, workers + 1)
        ]
    )
    supervisor.take_signals()
    if owned:
        # Kept open here until the last call ends, they would go on to take callers whom nobody serves.
        supervisor.on_stop(lambda: refuse_more(listeners, close=True))
    await supervisor.run()


def _warnings() -> list[str]:
    return [part for option in sys.warnoptions for part in ("-W", option)]


def _from_systemd() -> list[socket.socket]:
    """The sockets that systemd opened for this process, and keeps after it has ended."""
    if env.integer("LISTEN_PID", 0) != os.getpid():
        return []
    count = env.integer("LISTEN_FDS", 0)
    return [socket.socket(fileno=number) for number in range(_SYSTEMD_FIRST, _SYSTEMD_FIRST + count)]


def _opened() -> list[socket.socket]:
    """A new socket for each address of HOST. Raises OSError."""
    host, port = env.text("HOST", "0.0.0.0"), env.integer("PORT", 8000)  # noqa: S104 - a container is reached from outside
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [_listening(family, address) for family, _, _, _, address in found]


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.create_server(address, family=family, backlog=2048)
    listener.setblocking(False)
    return listener


def refuse_more(listeners: Iterable[socket.socket], *, close: bool = False) -> None:
    """Let nobody else into the queues of the sockets: a caller outside tries again, or goes elsewhere.

    One who got in between the last check and the close would be reset after sending a request, which a proxy must
    not send twice. A queue of none still has room for one, so Linux is also asked to drop requests to connect.
    """
    for listener in listeners:
        listener.listen(0)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                _drop_requests_to_connect(listener)
        if close:
            listener.close()


# Classic BPF over the TCP header: drop a segment with SYN and without ACK, pass all others.
_DROP_SYN = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte of flags
        (0x54, 0, 0, 0x12),  # keep SYN and ACK
        (0x15, 0, 1, 0x02),  # SYN alone?
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFFFFFF),  # pass
    )
)
_SO_ATTACH_FILTER = 26  # Python has no name for it


def _drop_requests_to_connect(listener: socket.socket) -> None:
    """Attach the filter, for every process that has this socket. Raises OSError where the kernel has none."""
    program = ctypes.create_string_buffer(_DROP_SYN)
    option = struct.pack("@HP", len(_DROP_SYN) // 8, ctypes.addressof(program))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)


def is_waited_at(listeners: Iterable[socket.socket]) -> bool:
    """Whether a connection waits to be accepted."""
    poll = select.poll()
    for listener in listeners:
        poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


if __name__ == "__main__":
    main()
