"""`manage.py ledger`: the process that keeps the books."""

import asyncio
import logging
import signal
import time
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from billing import spool
from billing.ledger.drain import BATCH, RECOVERABLE, Drain
from billing.meter.heartbeat import Heartbeat
from billing.meter.journal import WORKER
from billing.meter.meter import Meter
from billing.meter.reaper import Reaper
from gateway_project.ground.errors import TenantryError
from gateway_project.ground.policy_changes import replay_policy_changes
from gateway_project.ground.presence import Presence

logger = logging.getLogger(__name__)
IDLE_SECONDS = 0.05
# The pause after a step that drained less than a batch, so that events share a transaction and its syncs.
LINGER_SECONDS = 0.2
CHORES_EVERY_SECONDS = 2.0


class Command(BaseCommand):
    help = "Drains usage into the ledger, settles the calls of crashed processes, and replays policy changes."
    requires_system_checks = ()  # they load every page; `migrate` runs them
    stopping = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="Drain what is there, then stop.")

    def handle(self, *args: Any, **options: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self.drain: Drain | None = None
        self.runner = asyncio.Runner()
        self.chores = Chores()
        presence = Presence("ledger")
        chores_at, wait = 0.0, IDLE_SECONDS
        while not self.stopping:
            try:
                presence.beat()
                if time.monotonic() >= chores_at:
                    self.runner.run(self.chores.do())
                    replay_policy_changes()
                    chores_at = time.monotonic() + CHORES_EVERY_SECONDS
                self.drain = self.drain or Drain()
                drained = self.drain.step()
                if options["once"]:
                    if not drained:
                        return
                    continue
                if drained >= BATCH:
                    continue
                wait = LINGER_SECONDS if drained else IDLE_SECONDS
            except (*RECOVERABLE, TenantryError) as error:
                # Both stores will be back. Until then events stay in the stream.
                self.drain, wait = None, min(5.0, wait * 2)
                logger.warning("ledger waits %.1f s: %s", wait, error)
            time.sleep(wait)
        presence.leave()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True


class Chores:
    """What the process does besides draining."""

    def __init__(self) -> None:
        self._meter = Meter()
        self._heartbeat, self._reaper = Heartbeat(self._meter), Reaper(self._meter)

    async def do(self) -> None:
        """Open the meter where it was never opened, and settle what dead processes left."""
        try:
            await self._open_meter()
            await self._heartbeat.beat(WORKER)
            await spool.deliver(self._heartbeat)  # before the reaper charges those calls at their holds
            await self._reaper.look()
        finally:
            await self._meter.pipe.close()

    async def _open_meter(self) -> None:
        """Open the meter without a quarantine on a first start, when there is nothing to put back."""
        for shard in range(settings.METER_SHARDS):
            await self._meter.open_epoch(shard)
