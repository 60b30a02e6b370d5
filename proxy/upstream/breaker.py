"""Circuit breakers: an upstream that fails for a model again and again is left alone for a while.

One for each upstream and model, in each process: what one process sees needs no round trip to be used. Every
change is written to Redis for people to look at (`/readyz`, the dashboard), never to be decided by.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from billing.meter.errors import MeteringUnavailable
from billing.meter.journal import WORKER
from billing.meter.redis_pipe import RedisPipe
from gateway_project.ground.redis_keys import BREAKER_BOARD as BOARD
from proxy.background import Background

logger = logging.getLogger("tenantry.proxy")

# This many calls in a row, within `FAILURES_WITHIN` seconds: a single caller who provokes errors on purpose
# closes nothing to the others, an upstream that is down is found out at once under load.
FAILURES = 10
FAILURES_WITHIN = 30.0
FIRST_OPEN_SECONDS, LONGEST_OPEN_SECONDS = 2.0, 30.0
BOARD_SECONDS = 120


@dataclass
class Breaker:
    """Closed, open until `opens_at` (monotonic seconds), or trying one call (`probing`). `changed` is called when it
    opens or closes.
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
        """Whether a call may be tried. In an open breaker's time, one may, and decides."""
        if not self.open_seconds:
            return True
        if self.probing or now < self.opens_at:
            return False
        self.probing = True
        return True

    def seconds_left(self, now: float) -> float:
        return max(0.0, self.opens_at - now)

    def given_up(self) -> None:
        """The call that was to decide ended without an answer from the upstream."""
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
        found = self._breakers.get((upstream, model))
        if found is None:
            found = self._breakers[upstream, model] = Breaker(f"{upstream} {model}", self._changed)
        return found

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
        pass  # a notice for people; the log has it too
