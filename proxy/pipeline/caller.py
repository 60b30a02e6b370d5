"""The caller's connection, watched while its request is served."""

import asyncio
from collections.abc import Callable
from typing import cast

from gateway_project.ground.errors import TenantryError
from proxy.pipeline.body import Message, Receive

OnDisconnect = Callable[[Callable[[bool], None]], None]


class GatewayStopping(TenantryError):
    """The process stops, and the call did not finish within the grace period."""

    code = "gateway_stopping"
    status = 503

    def __init__(self) -> None:
        super().__init__(
            "The gateway is restarting and had to end this call. Try again.", headers={"retry-after": "1"}
        )


class CallerConnection:
    """Cancels the request's task when the caller leaves, and swallows that cancellation at the end.

    It does the same when the server stops. Then `was_cut` lets the task go on, to tell the caller so.

    The request is served in the server's own task. Our server calls back at a disconnect. With another one, a second
    task waits for it, and is nearly always cancelled: 7 µs. Django's two tasks take 25 µs more.
    """

    def __init__(self, receive: Receive, on_disconnect: OnDisconnect | None = None) -> None:
        self._receive = receive
        self._on_disconnect = on_disconnect
        self._watch: asyncio.Task[Message] | None = None
        self._uncut = 0
        self._outstays = False
        self._cancelled = False
        self._over = False
        self.left = False
        self.stopped = False
        self.answered = False

    async def __aenter__(self) -> "CallerConnection":
        self._work = cast("asyncio.Task[None]", asyncio.current_task())
        if self._on_disconnect is not None:
            self._on_disconnect(self._gone)
        else:
            self._watch = asyncio.create_task(_next_message(self._receive))
            self._watch.add_done_callback(self._received)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        self._over = True
        if self._watch is not None:
            self._watch.cancel()
        if kind is asyncio.CancelledError and (self._cancelled or self.left):
            # Ours to swallow, unless the server cancelled the task as well. If the caller left, nobody waits for it.
            return self._work.uncancel() == 0 or self.left
        return False

    def uncut(self) -> "CallerConnection":
        """A context manager for a section that a leaving caller does not interrupt: the cancellation waits for its end.

        For admission, since a lease must not get lost between Redis and us.
        """
        return self

    def __enter__(self) -> None:
        self._uncut += 1

    def __exit__(self, *failure: object) -> None:
        self._uncut -= 1
        if self.left or self.stopped:
            self._cancel()

    def outstay(self) -> None:
        """Serve to the end even if the caller leaves, for tenants with the disconnect policy `drain`."""
        self._outstays = True

    def was_cut(self) -> bool:
        """Whether this cancellation came because the server stops. If so it is undone, so that the task can tell the
        caller.
        """
        if not self.stopped or self.left:
            return False
        self._cancelled = False
        self._work.uncancel()
        return True

    @property
    def why_over(self) -> str:
        """Why the call ended early, for its ledger row."""
        return "the gateway stopped" if self.stopped and not self.left else "the caller disconnected"

    def _received(self, watch: "asyncio.Task[Message]") -> None:
        if (
            not watch.cancelled()
            and watch.exception() is None
            and watch.result()["type"] == "http.disconnect"
        ):
            self._gone()

    def _gone(self, stopped: bool = False) -> None:
        # Servers also report a disconnect once the answer is complete.
        if self.answered or self._over:
            return
        if stopped:
            self.stopped = True
        else:
            self.left = True
        self._cancel()

    def _cancel(self) -> None:
        held = self._uncut or (self._outstays and not self.stopped)
        if not (held or self._cancelled):
            self._cancelled = True
            self._work.cancel()


async def _next_message(receive: Receive) -> Message:
    return await receive()
