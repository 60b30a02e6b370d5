"""Fair share of an upstream: what it bears is found out, and one tenant's burst is not another's wait."""

import asyncio
import random

import pytest

from proxy.upstream.fair_share import FairShareLimiter, UpstreamSaturated
from tests.proxy.upstream import virtual_time


async def throttled(limiter, tenant, times=4):
    rounds = [await limiter.enter(tenant) for _ in range(times)]
    for each in rounds:
        limiter.leave(tenant, each, throttled=True)


async def test_nothing_waits_while_the_upstream_takes_everything():
    limiter = FairShareLimiter()
    await asyncio.gather(*(limiter.enter(1) for _ in range(1000)))
    assert limiter.in_flight == 1000


async def test_a_quiet_tenant_goes_before_a_noisy_ones_queue():
    limiter = FairShareLimiter()
    await throttled(limiter, 1)
    order = []

    async def call(tenant):
        await limiter.enter(tenant)
        order.append(tenant)

    noisy = [asyncio.ensure_future(call(1)) for _ in range(30)]
    await asyncio.sleep(0)
    quiet = asyncio.ensure_future(call(2))
    await asyncio.sleep(0)
    assert limiter.in_flight == 8
    limiter.leave(1, 1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order[-1] == 2
    for task in (*noisy, quiet):
        task.cancel()


async def test_slots_are_shared_by_weight():
    limiter = FairShareLimiter()
    await throttled(limiter, 1)
    limiter.bound = 8.0
    started = {1: 0, 2: 0}

    async def call(tenant, weight):
        await limiter.enter(tenant, weight)
        started[tenant] += 1

    await asyncio.gather(*(limiter.enter(9) for _ in range(8)))
    turns = [(1, 3), (2, 1)] * 20
    tasks = [asyncio.ensure_future(call(tenant, weight)) for tenant, weight in turns]
    await asyncio.sleep(0)
    for _ in range(8):
        limiter.leave(9, 1)
    await asyncio.sleep(0)
    assert started == {1: 6, 2: 2}
    for task in tasks:
        task.cancel()


async def test_a_queue_that_is_full_says_that_it_is_not_the_tenants_own_limit():
    limiter = FairShareLimiter()
    await throttled(limiter, 1)
    waiting = [asyncio.ensure_future(limiter.enter(1)) for _ in range(8 + 64)]
    await asyncio.sleep(0)
    with pytest.raises(UpstreamSaturated, match="not one of your own limits"):
        await limiter.enter(1)
    for task in waiting:
        task.cancel()


async def test_a_caller_who_leaves_the_queue_takes_no_slot_with_it():
    limiter = FairShareLimiter()
    await throttled(limiter, 1)
    inside = [asyncio.ensure_future(limiter.enter(1)) for _ in range(8)]
    left = asyncio.ensure_future(limiter.enter(1))
    after = asyncio.ensure_future(limiter.enter(1))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.sleep(0)
    limiter.leave(1, 1)
    await asyncio.wait_for(after, 1)
    assert limiter.in_flight == 8
    assert all(task.done() for task in inside)


async def test_a_caller_who_gives_up_as_a_slot_frees_breaks_nothing():
    limiter = FairShareLimiter()
    await throttled(limiter, 1)
    await asyncio.gather(*(limiter.enter(1) for _ in range(8)))
    left, after = (asyncio.ensure_future(limiter.enter(1)) for _ in range(2))
    await asyncio.sleep(0)

    left.cancel()
    limiter.leave(1, 1)  # before the one who left has noticed

    await asyncio.wait_for(after, 1)
    assert limiter.in_flight == 8


async def test_the_last_slot_is_for_who_is_within_its_share():
    limiter = FairShareLimiter()
    await throttled(limiter, 1)
    limiter.bound = 10.0
    await limiter.enter(2)
    noisy = [asyncio.ensure_future(limiter.enter(1)) for _ in range(20)]
    await asyncio.sleep(0)

    assert limiter.in_flight == 9
    await asyncio.wait_for(limiter.enter(2), 1)
    assert limiter.in_flight == 10
    for task in noisy:
        task.cancel()


async def test_nothing_is_remembered_of_tenants_that_are_gone():
    limiter = FairShareLimiter()
    await throttled(limiter, 1)
    turns = [await limiter.enter(tenant) for tenant in range(8)]
    waiting = [asyncio.ensure_future(limiter.enter(tenant)) for tenant in range(100, 120)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    for tenant, turn in enumerate(turns):
        limiter.leave(tenant, turn)

    assert (limiter._of_tenant, limiter._weights, limiter._queues) == ({}, {}, {})


async def test_the_bound_goes_when_nothing_was_refused_for_a_while():
    now = [100.0]
    limiter = FairShareLimiter(clock=lambda: now[0])
    await throttled(limiter, 1)
    assert limiter.bound == 8
    now[0] += 16
    limiter.leave(1, await limiter.enter(1), throttled=False)
    assert limiter.bound is None


async def test_a_crowd_that_was_too_large_is_one_refusal():
    limiter = FairShareLimiter()
    crowd = [await limiter.enter(1) for _ in range(100)]

    for each in crowd[:4]:
        limiter.leave(1, each, throttled=True)
    bound = limiter.bound
    for each in crowd[4:80]:
        limiter.leave(1, each, throttled=True)

    assert bound is not None
    assert 80 < bound < 100
    assert limiter.bound == bound  # they were on their way before it was lowered


async def test_with_a_bound_the_first_refusal_lowers_it_and_answers_raise_it():
    limiter = FairShareLimiter()
    await throttled(limiter, 1)
    limiter.bound = 20.0
    calls = [await limiter.enter(1) for _ in range(20)]

    for each in calls[:10]:
        limiter.leave(1, each, throttled=False)
    assert 20 < limiter.bound < 21
    limiter.leave(1, calls[10], throttled=True)
    assert limiter.bound < 20


class Scarce:
    """An upstream that serves `capacity` calls at once, 200 ms each, and refuses the others at once."""

    def __init__(self, capacity):
        self.limiter = FairShareLimiter(clock=asyncio.get_running_loop().time)
        self.random = random.Random(7)
        self.capacity = capacity
        self.busy = 0

    async def call(self, tenant, weight):
        turn = await self.limiter.enter(tenant, weight)
        served = self.busy < self.capacity
        if served:
            self.busy += 1
            await asyncio.sleep(self.random.uniform(0.18, 0.22))
            self.busy -= 1
        else:
            await asyncio.sleep(0.002)
        self.limiter.leave(tenant, turn, throttled=not served)
        return served

    async def caller(self, tenant, times, weight=1):
        """Calls one after the other, with the gateway's own second try, for a minute."""
        loop = asyncio.get_running_loop()
        while loop.time() < 60:
            began = loop.time()
            try:
                served = await self.call(tenant, weight)
                if not served:
                    await asyncio.sleep(self.random.uniform(0.1, 0.3))
                    served = await self.call(tenant, weight)
            except UpstreamSaturated:
                served = False
            if served:
                times.append(loop.time() - began)
            else:
                await asyncio.sleep(1)


def a_minute(*, capacity, callers):
    """Times of the calls of each tenant; `callers`: how many each has, and its weight."""

    async def simulate():
        scarce = Scarce(capacity)
        times: dict[str, list[float]] = {tenant: [] for tenant in callers}
        await asyncio.gather(
            *(
                scarce.caller(tenant, times[tenant], weight)
                for tenant, (many, weight) in callers.items()
                for _ in range(many)
            )
        )
        return times

    return virtual_time.run(simulate())


def p95(times):
    return sorted(times)[int(len(times) * 0.95)]


@pytest.mark.parametrize("capacity", [20, 40])
@pytest.mark.parametrize("used", [0.25, 0.5, 1.0])
def test_at_ten_times_its_share_one_tenant_adds_less_than_a_fifth_to_anothers_p95(capacity, used):
    limiter = capacity // 2
    quiet = (round(limiter * used), 1)

    alone = a_minute(capacity=capacity, callers={"quiet": quiet})
    beside = a_minute(capacity=capacity, callers={"quiet": quiet, "noisy": (10 * limiter, 1)})

    assert p95(beside["quiet"]) < 1.2 * p95(alone["quiet"])
    # Nearly all of the upstream is in use nonetheless.
    assert sum(map(len, beside.values())) > 0.9 * 60 * capacity / 0.2


def test_two_tenants_that_want_everything_get_it_by_their_weight():
    times = a_minute(capacity=20, callers={"light": (40, 1), "heavy": (40, 3)})

    assert 2.6 < len(times["heavy"]) / len(times["light"]) < 3.4
