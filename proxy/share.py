"""Fair share of one upstream: all tenants use one key, so one tenant's burst must not be another's wait.

Nothing is held back until the upstream says that it is too much (429, 529). From then on the calls in flight
are bounded by what it bears, found by trial (additive increase, multiplicative decrease), and a slot that
frees goes to the waiting tenant with the fewest calls in flight for its weight. Each process has a bound of
its own.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from gateway_project.errors import TenantryError

# A few refusals may be anyone's; this many among the last calls are the upstream's word.
THROTTLED_OF, WINDOW = 4, 20
DECREASE, FLOOR = 0.7, 8
# The bound goes when nothing was refused for so long (seconds).
CALM_SECONDS = 15.0
LONGEST_WAIT_SECONDS = 5.0
LONGEST_QUEUE = 64  # calls of one tenant


class UpstreamSaturated(TenantryError):
    """The upstream takes no more, and the caller's share of it is in use. Not a limit of the tenant's."""

    code = "upstream_unavailable"
    status = 502

    def __init__(self) -> None:
        super().__init__(
            "The upstream is saturated and your share of it is in use; this is not one of your own limits. "
            "Try again shortly.",
            headers={"retry-after": "1", "x-should-retry": "true"},
        )


class Share:
    """The calls in flight to one upstream. `bound` is `None` while it takes whatever comes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.bound: float | None = None
        self.in_flight = 0
        self._clock = clock
        self._of_tenant: dict[int, int] = {}
        self._weights: dict[int, int] = {}
        self._queues: dict[int, deque[asyncio.Future[None]]] = {}
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._cut_at = 0.0

    async def enter(self, tenant_id: int, weight: int = 1) -> None:
        """Return when the call may go. Raises UpstreamSaturated when its turn does not come in time."""
        if self.bound is None or (self.in_flight < self.bound and not self._queues):
            self._start(tenant_id)
            return
        queue = self._queues.setdefault(tenant_id, deque())
        if len(queue) >= LONGEST_QUEUE:
            raise UpstreamSaturated
        self._weights[tenant_id] = weight
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._admit()
        try:
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.leave(tenant_id)  # its turn came in the moment it left
            else:
                self._withdraw(tenant_id, turn)
            if isinstance(error, TimeoutError):
                raise UpstreamSaturated from None
            raise

    def leave(self, tenant_id: int, *, throttled: bool | None = None) -> None:
        """The call is over. `throttled`: whether it was refused as one too many (`None`: no answer)."""
        if throttled is not None:
            self._learn(throttled)
        self.in_flight -= 1
        left = self._of_tenant[tenant_id] - 1
        if left:
            self._of_tenant[tenant_id] = left
        else:
            del self._of_tenant[tenant_id]
        if self._queues:
            self._admit()

    def _learn(self, throttled: bool) -> None:
        self._recent.append(throttled)
        now = self._clock()
        if throttled:
            # Calls of one round are refused together: they are one refusal.
            if sum(self._recent) >= THROTTLED_OF and now - self._cut_at > 1:
                at_once = self.in_flight if self.bound is None else min(self.in_flight, self.bound)
                self.bound = max(float(FLOOR), at_once * DECREASE)
                self._cut_at = now
        elif self.bound is not None:
            if now - self._cut_at > CALM_SECONDS:
                self.bound = None
            else:
                self.bound += 1 / self.bound

    def _start(self, tenant_id: int) -> None:
        self.in_flight += 1
        self._of_tenant[tenant_id] = self._of_tenant.get(tenant_id, 0) + 1

    def _admit(self) -> None:
        while self._queues and (self.bound is None or self.in_flight < self.bound):
            neediest = min(
                self._queues, key=lambda tenant: self._of_tenant.get(tenant, 0) / self._weights[tenant]
            )
            turn = self._queues[neediest].popleft()
            if not self._queues[neediest]:
                del self._queues[neediest]
            self._start(neediest)
            turn.set_result(None)

    def _withdraw(self, tenant_id: int, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(tenant_id)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._queues[tenant_id]
