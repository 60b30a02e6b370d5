"""What a web process does before its first request and after its last."""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from billing import meter
from billing.ledger import refusal_counts
from billing.meter import heartbeat
from billing.meter.errors import MeteringUnavailable
from gateway_project.presence import BeatingThread
from proxy import background, telemetry, tracing
from proxy.upstream.client import close_all

# Settling what is still open when the process ends; the reaper has the rest.
LAST_SECONDS = 10
BEAT_SECONDS = 1
logger = logging.getLogger("tenantry.proxy")


async def lifespan(
    receive: Callable[[], Awaitable[Any]], send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    """ASGI's lifespan protocol: while it serves, the process says that it lives; to stop, it finishes."""
    await receive()
    tracing.start()
    # What start-up made lives as long as the process. Calls leave next to nothing in circles, and the usual threshold
    # of 700 objects had that looked for at every second call: 7 % of the CPU.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    beating = asyncio.create_task(_beat())
    presence = BeatingThread("web")
    presence.start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await background.finish(seconds=LAST_SECONDS)
    beating.cancel()
    await asyncio.to_thread(presence.stop)
    telemetry.flush()
    await refusal_counts.flush()
    await close_all()
    await meter.pipe().close()
    await send({"type": "lifespan.shutdown.complete"})


async def _beat() -> None:
    """Without this the reaper would take the leases of a long stream for those of a dead process, and what a
    flush of Redis took would be lost."""
    while True:
        for part in (_beat_once, _flush):
            try:
                await part()
            except MeteringUnavailable as error:
                logger.warning("No heartbeat: %s", error.message)
            except Exception:
                # Whatever it is, the next beat must come: without beats this process would be taken for dead.
                logger.exception("A part of the heartbeat failed")
        await asyncio.sleep(BEAT_SECONDS)


async def _beat_once() -> None:
    await heartbeat.beat(meter.WORKER)


async def _flush() -> None:
    telemetry.flush()
    await refusal_counts.flush()
