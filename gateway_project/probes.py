"""`/healthz`, `/readyz` and `/metrics`, answered before Django: for any Host, over plain http, without a session.

An orchestrator uses a pod's address, which is not in ALLOWED_HOSTS.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, NamedTuple, TypeVar

from django.db import close_old_connections

from gateway_project.health import readiness
from gateway_project.metrics import may_scrape, scrape

T = TypeVar("T")
Headers = list[tuple[bytes, bytes]]
# Longer than the stores' own timeouts, so that it only ends queries that hang.
ANSWER_SECONDS = 8.0
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="probes")


class Reply(NamedTuple):
    """The response to a probe."""

    status: int
    body: bytes
    content_type: str = "application/json"


class Shared(Generic[T]):
    """Runs a query to the stores in a thread, once for everyone who waits for it.

    So probes use at most one connection to PostgreSQL, however frequent they are.
    """

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._pending: asyncio.Future[T] | None = None

    async def answer(self) -> T:
        """The query's result. Raises TimeoutError after `ANSWER_SECONDS`."""
        loop = asyncio.get_running_loop()
        if self._pending is None or self._pending.done() or self._pending.get_loop() is not loop:
            self._pending = loop.run_in_executor(_threads, self._within_thread)
        # Shielded: a caller who leaves must not cancel it for the others.
        return await asyncio.wait_for(asyncio.shield(self._pending), ANSWER_SECONDS)

    def _within_thread(self) -> T:
        close_old_connections()
        try:
            return self._ask()
        finally:
            close_old_connections()


# Lambdas, so that each function is looked up at the call.
_readiness = Shared(lambda: readiness())
_metrics = Shared(lambda: scrape())


async def probe(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Answer one of `ANSWERS`, by GET or HEAD."""
    headers: Headers = []
    if scope["method"] in ("GET", "HEAD"):
        reply = await ANSWERS[scope["path"]](scope)
    else:
        reply = Reply(405, b'{"status":"GET or HEAD only"}')
        headers.append((b"allow", b"GET, HEAD"))
    headers += [
        (b"content-type", reply.content_type.encode()),
        (b"content-length", b"%d" % len(reply.body)),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else reply.body
    await send({"type": "http.response.body", "body": body})


async def _healthz(scope: dict[str, Any]) -> Reply:
    return Reply(200, b'{"status":"ok"}')


async def _readyz(scope: dict[str, Any]) -> Reply:
    try:
        status, body = await _readiness.answer()
    except TimeoutError:
        status, body = 503, {"status": "unavailable"}
    return Reply(status, json.dumps(body).encode())


async def _scrape(scope: dict[str, Any]) -> Reply:
    if not may_scrape(scope):
        return Reply(403, b"Metrics want METRICS_TOKEN as a bearer token.\n", "text/plain; charset=utf-8")
    try:
        body, content_type = await _metrics.answer()
    except TimeoutError:
        return Reply(503, b"The stores do not answer.\n", "text/plain; charset=utf-8")
    return Reply(200, body, content_type)


ANSWERS = {"/healthz": _healthz, "/readyz": _readyz, "/metrics": _scrape}
