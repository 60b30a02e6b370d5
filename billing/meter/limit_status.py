"""How close a tenant is to each of its limits, read without changing anything: for the API and the console."""

import asyncio

import msgspec

from billing.meter.admission import AdmissionRequest
from billing.meter.connection.pipe import RedisPipe
from billing.meter.errors import MeteringUnavailable
from billing.meter.lease import RequestMetadata, Run
from billing.meter.meter import Meter
from billing.meter.scripts import BUDGET_KEYS, SCOPES, AdmitKey
from gateway_project.ground.money import NanoUSD
from tenants.periods import Span
from tenants.policy import Principal

WINDOW_US = 60_000_000


class BudgetStatus(msgspec.Struct, frozen=True):
    """One budget: of the tenant, key, end user or run. `budget_nano` is `None` where the spend is not limited."""

    scope: str
    budget_nano: NanoUSD | None
    spent_nano: NanoUSD
    held_nano: NanoUSD


class LimitStatus(msgspec.Struct, frozen=True):
    """Every window and counter as the next call will find it. `saving`: cheaper models are preferred."""

    period: Span
    day: Span
    requests_used: int
    user_requests_used: int
    key_requests_used: int
    open_calls: int
    tokens_used: int
    tokens_held: int
    budgets: list[BudgetStatus]
    saving: bool


async def limit_status(
    meter: Meter, principal: Principal, *, end_user: str = "", run: Run | None = None
) -> LimitStatus:
    """How close the caller is to its limits, including those of `end_user` and `run`. Raises MeteringUnavailable."""
    metadata = RequestMetadata(wire="", model_requested="", stream=False, end_user=end_user)
    request = AdmissionRequest(principal, [], "", metadata, run, meter.policies.of(principal))
    for _ in range(3):
        counters, cold = await _read(meter.pipe, request)
        if not cold:
            return counters
        await meter.rebuild_counters(request, cold)
    raise MeteringUnavailable


async def _read(pipe: RedisPipe, request: AdmissionRequest) -> tuple[LimitStatus, list[AdmitKey]]:
    """The status by the counters that exist, and the counters that are missing."""
    keys = request.keys
    budget_keys = (keys.tenant_budget, keys.key_budget, keys.user_budget, keys.run_budget)
    kept = [number for number in range(4) if number == 0 or request.budgets[number] is not None]
    clock, open_calls, day, *budgets = await asyncio.gather(
        pipe.call("TIME"),
        pipe.call("HLEN", keys.leases),
        pipe.call("HMGET", keys.day, "tokens", "held"),
        *(pipe.call("HMGET", budget_keys[number], "spent", "held", "saving") for number in kept),
    )
    since = int(clock[0]) * 1_000_000 + int(clock[1]) - WINDOW_US
    windows = [
        await _used(pipe, key, since, tenant=keys.tenant)
        for key in (keys.tenant_window, keys.user_window, keys.key_window)
    ]
    cold = [BUDGET_KEYS[number] for number, found in zip(kept, budgets, strict=True) if found[0] is None]
    if day[0] is None:
        cold.append(AdmitKey.DAY)
    limit_status = LimitStatus(
        period=request.prepared.period,
        day=request.prepared.day,
        requests_used=windows[0],
        user_requests_used=windows[1],
        key_requests_used=windows[2],
        open_calls=open_calls,
        tokens_used=int(day[0] or 0),
        tokens_held=int(day[1] or 0),
        budgets=[
            BudgetStatus(
                scope=SCOPES[number],
                budget_nano=request.budgets[number],
                spent_nano=NanoUSD(int(found[0] or 0)),
                held_nano=NanoUSD(int(found[1] or 0)),
            )
            for number, found in zip(kept, budgets, strict=True)
        ],
        saving=request.prepared.lines.saves(int(budgets[0][0] or 0), latched=budgets[0][2] is not None),
    )
    return limit_status, cold


async def _used(pipe: RedisPipe, key: str, since_us: int, *, tenant: str) -> int:
    """Requests in the window; 0 where none is kept, for which `key` is the tenant's own hash."""
    if key == tenant:
        return 0
    used: int = await pipe.call("ZCOUNT", key, f"({since_us}", "+inf")
    return used
