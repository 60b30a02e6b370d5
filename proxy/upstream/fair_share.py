"""Fair share of one upstream: all tenants use one key there, so one tenant's burst must not make another wait.

Nothing is held back until the upstream refuses calls as too many (429, 529). Then the calls in flight are bounded by
what it can take, found by additive increase and multiplicative decrease. A slot that frees goes to the waiting tenant
with the fewest calls in flight for its weight. The last free slot is reserved for tenants within their share, so that
they need not wait for another's call to end. Each process has a bound of its own.

Calls belong to rounds, and lowering the bound starts a new one. A refusal of an earlier round's call says nothing new.
So the bound falls as fast as answers come back, and only once for each crowd that was too large.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from gateway_project.ground.errors import TenantryError

# A few refusals may be chance, so the first bound takes this many among the last calls. Later the first refusal counts:
# tenants within their share should meet as few as possible.
THROTTLED_OF, WINDOW = 4, 20
# A gentle decrease keeps nearly all of the upstream in use; the next refusal decreases again (simulated in the tests).
DECREASE, FLOOR = 0.85, 8
# The bound is lifted after so many seconds without a refusal.
CALM_SECONDS = 15.0
LONGEST_WAIT_SECONDS = 5.0
LONGEST_QUEUE = 64  # calls of one tenant


class UpstreamSaturated(TenantryError):
    """The upstream takes no more calls, and the tenant's share of it is in use. It is none of the tenant's limits."""

    code = "upstream_unavailable"
    status = 502

    def __init__(self) -> None:
        super().__init__(
            "The upstream is at capacity and your share of it is in use. This is not one of your own limits. "
            "Try again shortly.",
            headers={"retry-after": "1", "x-should-retry": "true"},
        )


class FairShareLimiter:
    """The calls in flight to one upstream. `bound` is `None` while it refuses nothing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.bound: float | None = None
        self.in_flight = 0
        self._clock = clock
        self._of_tenant: dict[int, int] = {}
        self._weights: dict[int, int] = {}
        self._queues: dict[int, deque[asyncio.Future[int]]] = {}
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._round = 0
        self._cut_at = 0.0

    async def enter(self, tenant_id: int, weight: int = 1) -> int:
        """Wait until the call may go. Returns the round it belongs to, for `leave`.

        Raises UpstreamSaturated if the tenant's queue is full or the call's turn does not come in time.
        """
        self._weights[tenant_id] = weight
        if tenant_id not in self._queues and self._has_slot_for(tenant_id):
            return self._start(tenant_id)
        queue = self._queues.setdefault(tenant_id, deque())
        if len(queue) >= LONGEST_QUEUE:
            raise UpstreamSaturated
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._admit()
        try:
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                return await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.leave(tenant_id, turn.result())  # its turn came at the moment it gave up
            else:
                self._withdraw(tenant_id, turn)
            if isinstance(error, TimeoutError):
                raise UpstreamSaturated from None
            raise

    def leave(self, tenant_id: int, call_round: int, *, throttled: bool | None = None) -> None:
        """A call of `call_round` is over. `throttled`: whether it was refused as one too many (`None`: no answer)."""
        if throttled is not None:
            self._learn(call_round, throttled)
        self.in_flight -= 1
        left = self._of_tenant[tenant_id] - 1
        if left:
            self._of_tenant[tenant_id] = left
        else:
            del self._of_tenant[tenant_id]
            if tenant_id not in self._queues:
                del self._weights[tenant_id]
        if self._queues:
            self._admit()

    def _learn(self, call_round: int, throttled: bool) -> None:
        self._recent.append(throttled)
        now = self._clock()
        if throttled:
            if call_round == self._round and (self.bound or sum(self._recent) >= THROTTLED_OF):
                at_once = self.in_flight if self.bound is None else min(self.in_flight, self.bound)
                self.bound = max(float(FLOOR), at_once * DECREASE)
                self._round += 1
                self._cut_at = now
        elif self.bound is not None:
            if now - self._cut_at > CALM_SECONDS:
                self.bound = None
                self._recent.clear()
            else:
                self.bound += 1 / self.bound

    def _start(self, tenant_id: int) -> int:
        self.in_flight += 1
        self._of_tenant[tenant_id] = self._of_tenant.get(tenant_id, 0) + 1
        return self._round

    def _has_slot_for(self, tenant_id: int) -> bool:
        if self.bound is None:
            return True
        free = self.bound - self.in_flight
        return free > 1 or (free > 0 and self._is_within_share(tenant_id, self.bound))

    def _is_within_share(self, tenant_id: int, bound: float) -> bool:
        """Whether the tenant has less in flight than its part of the bound, among all tenants who want some now."""
        wanting = self._of_tenant.keys() | self._queues.keys() | {tenant_id}
        part = self._weights[tenant_id] / sum(self._weights[each] for each in wanting)
        return self._of_tenant.get(tenant_id, 0) < bound * part

    def _admit(self) -> None:
        while self._queues:
            neediest = min(
                self._queues, key=lambda tenant: self._of_tenant.get(tenant, 0) / self._weights[tenant]
            )
            if not self._has_slot_for(neediest):
                return
            turn = self._queues[neediest].popleft()
            if not self._queues[neediest]:
                del self._queues[neediest]
            if not turn.done():  # else it has given up, and its task has not removed it yet
                turn.set_result(self._start(neediest))

    def _withdraw(self, tenant_id: int, turn: asyncio.Future[int]) -> None:
        queue = self._queues.get(tenant_id)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._queues[tenant_id]
        if tenant_id not in self._queues and tenant_id not in self._of_tenant:
            self._weights.pop(tenant_id, None)


class FairShareLimiters:
    """The limiters of one process, by upstream."""

    def __init__(self) -> None:
        self._limiters: dict[str, FairShareLimiter] = {}

    def of(self, upstream: str) -> FairShareLimiter:
        limiter = self._limiters.get(upstream)
        if limiter is None:
            limiter = self._limiters[upstream] = FairShareLimiter()
        return limiter
