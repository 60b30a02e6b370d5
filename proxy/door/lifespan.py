"""What a web process does before its first request and after its last."""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

from billing import meter, spool
from billing.ledger import refusal_counts
from billing.meter import heartbeat
from billing.meter.errors import MeteringUnavailable
from gateway_project.ground.presence import BeatingThread
from proxy import background, telemetry, tracing
from proxy.pipeline.charge import unsettled
from proxy.upstream.client import close_all

# Settling what is still open when the process ends; what Redis does not take by then is kept for the next process.
LAST_SECONDS = 10
BEAT_SECONDS = 1
DELIVER_SECONDS = 5
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
    beating, delivering = asyncio.create_task(_beat()), asyncio.create_task(_deliver())
    presence = BeatingThread("web")
    presence.start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    delivering.cancel()
    await background.finish(seconds=LAST_SECONDS)
    _keep_unsettled()
    beating.cancel()
    await asyncio.to_thread(presence.stop)
    telemetry.flush()
    await refusal_counts.flush()
    await close_all()
    await meter.pipe().close()
    await send({"type": "lifespan.shutdown.complete"})


def _keep_unsettled() -> None:
    """What could not be settled goes into a file: else it would be lost with the process, and charged at its hold."""
    left = unsettled()
    if not left:
        return
    try:
        file = spool.keep(left)
    except OSError as error:
        logger.error(
            "%d settles could not be delivered, nor be kept in %s (%s): these calls will be charged what was reserved "
            "for them",
            len(left), settings.DATA_DIR, error,
        )  # fmt: skip
    else:
        logger.error(
            "%d settles could not be delivered; the next start delivers them from %s", len(left), file
        )


async def _deliver() -> None:
    """Settle what an earlier process of this DATA_DIR could not, as soon as that is possible."""
    try:
        while not await spool.deliver():  # noqa: ASYNC110 - for other processes' files
            await asyncio.sleep(DELIVER_SECONDS)
    except Exception:
        logger.exception("Settles that were kept for this process stay in %s", settings.DATA_DIR)


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
