"""What one process of the data plane keeps between calls. It is made at the start and closed at the end."""

import asyncio
import logging

from django.conf import settings

from billing import spool
from billing.ledger.refusal_counts import RefusalCounts
from billing.meter.errors import MeteringUnavailable
from billing.meter.heartbeat import Heartbeat
from billing.meter.journal import WORKER
from billing.meter.lease import Lease
from billing.meter.meter import Meter
from billing.meter.output_sizes import OutputSizes
from billing.meter.settlement import CallOutcome
from gateway_project.ground.database import Reader
from proxy.background import Background
from proxy.prices import Prices
from proxy.telemetry import Telemetry
from proxy.tracing import Tracing
from proxy.upstream.breaker import Breakers
from proxy.upstream.catalogue import UpstreamTargets
from proxy.upstream.client import Upstreams
from proxy.upstream.fair_share import FairShareLimiters
from tenants.authentication import Authenticator

logger = logging.getLogger("tenantry.proxy")
# Time at the end of the process to settle what is open. What Redis does not take by then is spooled for the next one.
LAST_SECONDS = 10
BEAT_SECONDS = 1
DELIVER_SECONDS = 5


class Runtime:
    """The shared objects of one process; every call carries it.

    Constructing it opens nothing: threads and connections start with their first use.
    """

    def __init__(self) -> None:
        self.background = Background()
        self.telemetry = Telemetry()
        self.tracing = Tracing()
        self.reports = Reader(name="reports", threads=4)
        self.prices = Prices()
        self.authenticator = Authenticator()
        self.meter = Meter()
        self.refusals = RefusalCounts(self.meter.policies)
        self.heartbeat = Heartbeat(self.meter, forget_policies=self.authenticator.forget_policies)
        self.output_sizes = OutputSizes()
        self.upstreams = Upstreams()
        self.targets = UpstreamTargets(self.reports)
        self.breakers = Breakers(self.background, self.meter.pipe)
        self.limiters = FairShareLimiters()
        # Settles that Redis has not taken yet, by request id.
        self.unsettled: dict[str, tuple[Lease, CallOutcome]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the heartbeat, and settle what an earlier process spooled. Raises MissingExtra."""
        self.tracing.start()
        self._tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._deliver())]

    async def close(self) -> None:
        """Finish the work that calls left behind, write what was counted, and close every connection."""
        await self.background.finish(seconds=LAST_SECONDS)
        self._keep_unsettled()
        for task in self._tasks:
            task.cancel()
        await self.flush()
        await self.upstreams.close()
        await self.meter.close()
        self.tracing.stop()
        for threads in (self.authenticator, self.heartbeat, self.reports, self.prices, self.refusals):
            threads.close()

    async def flush(self) -> None:
        """Write what was counted since the last flush."""
        self.telemetry.flush()
        await self.refusals.flush()

    def _keep_unsettled(self) -> None:
        """Spool what could not be settled. Lost with the process, those calls would be charged at their holds."""
        left = list(self.unsettled.values())
        if not left:
            return
        try:
            file = spool.keep(left)
        except OSError as error:
            logger.error(
                "%d settles could not be delivered, nor be kept in %s (%s): these calls will be charged what was "
                "reserved for them",
                len(left), settings.DATA_DIR, error,
            )  # fmt: skip
        else:
            logger.error(
                "%d settles could not be delivered; the next start delivers them from %s", len(left), file
            )

    async def _beat(self) -> None:
        """Beat and flush once a second. Without beats, the reaper would take this process's leases for a dead one's."""
        while True:
            for part in (self._beat_once, self.flush):
                try:
                    await part()
                except MeteringUnavailable as error:
                    logger.warning("No heartbeat: %s", error.message)
                except Exception:
                    # The next beat must come whatever fails, or this process would be taken for dead.
                    logger.exception("A part of the heartbeat failed")
            await asyncio.sleep(BEAT_SECONDS)

    async def _beat_once(self) -> None:
        await self.heartbeat.beat(WORKER)

    async def _deliver(self) -> None:
        """Settle what earlier processes of this DATA_DIR spooled, as soon as that is possible."""
        try:
            while not await spool.deliver(self.heartbeat):  # noqa: ASYNC110 - for other processes' files
                await asyncio.sleep(DELIVER_SECONDS)
        except Exception:
            logger.exception("Settles that were kept for this process stay in %s", settings.DATA_DIR)
