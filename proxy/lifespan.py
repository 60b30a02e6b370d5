"""What a web process does before its first request and after its last."""

from collections.abc import Awaitable, Callable
from typing import Any

from billing import meter
from proxy import background
from proxy.upstream import default_upstream

# Settling what is still open when the process ends; the reaper has the rest.
LAST_SECONDS = 10


async def lifespan(
    receive: Callable[[], Awaitable[Any]], send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    """ASGI's lifespan protocol: nothing is needed to start; to stop, what was begun is finished."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await background.finish(seconds=LAST_SECONDS)
    await default_upstream().close()
    await meter.pipe().close()
    await send({"type": "lifespan.shutdown.complete"})
