"""Circuit breakers: an upstream that keeps failing for a model is left alone for a while.

Each process has one for each upstream and model, and decides by what it sees itself, without a round trip. Changes are
written to Redis only for people to see (`/readyz`, the dashboard).
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from billing.meter.connection.pipe import RedisPipe
from billing.meter.errors import MeteringUnavailable
from billing.meter.journal import WORKER
from gateway_project.ground.redis_keys import BREAKER_BOARD as BOARD
from proxy.background import Background

logger = logging.getLogger("tenantry.proxy")

# A breaker opens after this many failures in a row within `FAILURES_WITHIN` seconds. A single caller who provokes
# errors does not open one while others succeed; under load, an upstream that is down opens it at once.
FAILURES = 10
FAILURES_WITHIN = 30.0
FIRST_OPEN_SECONDS, LONGEST_OPEN_SECONDS = 2.0, 30.0
BOARD_SECONDS = 120


@dataclass
class Breaker:
    """Closed, open, or half-open: from `opens_at` (monotonic seconds) on, one call may try (`probing`).

    `changed` is called when it opens or closes. `open_seconds` is 0 while it is closed.
    """

    name: str
    changed: Callable[["Breaker"], None]
    failures: list[float] = field(default_factory=list)
    opens_at: float = 0.0
    open_seconds: float = 0.0
    probing: bool = False

    @property
    def state(self) -> str:
        if not self.open_seconds:
            return "closed"
        return "half-open" if self.probing else "open"

    def lets_through(self, now: float) -> bool:
        """Whether a call may be made. Once an open breaker's time is over, one call may, and decides."""
        if not self.open_seconds:
            return True
        if self.probing or now < self.opens_at:
            return False
        self.probing = True
        return True

    def seconds_left(self, now: float) -> float:
        return max(0.0, self.opens_at - now)

    def given_up(self) -> None:
        """The deciding call ended without an answer or a failure of the upstream: the next one decides."""
        self.probing = False

    def succeeded(self) -> None:
        self.failures.clear()
        if self.open_seconds:
            self.open_seconds, self.probing = 0.0, False
            self.changed(self)

    def failed(self, now: float) -> None:
        self.failures = [at for at in self.failures if now - at < FAILURES_WITHIN][-FAILURES:]
        self.failures.append(now)
        if self.probing or len(self.failures) >= FAILURES:
            self.probing = False
            self.open_seconds = min(LONGEST_OPEN_SECONDS, self.open_seconds * 2 or FIRST_OPEN_SECONDS)
            self.opens_at = now + self.open_seconds
            self.changed(self)


class Breakers:
    """The breakers of one process, by upstream and model."""

    def __init__(self, background: Background, pipe: RedisPipe) -> None:
        self._pipe = pipe
        self._background = background
        self._breakers: dict[tuple[str, str], Breaker] = {}

    def of(self, upstream: str, model: str) -> Breaker:
        breaker = self._breakers.get((upstream, model))
        if breaker is None:
            breaker = self._breakers[upstream, model] = Breaker(f"{upstream} {model}", self._changed)
        return breaker

    def _changed(self, breaker: Breaker) -> None:
        logger.warning("Breaker %s is %s", breaker.name, breaker.state)
        self._background.keep(_write(self._pipe, breaker))


async def _write(pipe: RedisPipe, breaker: Breaker) -> None:
    field = f"{breaker.name} {WORKER}"
    try:
        if breaker.state == "closed":
            await pipe.call("HDEL", BOARD, field)
            return
        seen = {"state": breaker.state, "since": int(time.time()), "seconds": breaker.open_seconds}
        await pipe.call("HSET", BOARD, field, json.dumps(seen))
        await pipe.call("EXPIRE", BOARD, BOARD_SECONDS)
    except MeteringUnavailable:
        pass  # only people read the board, and the log has it, too
