"""Calls that cost more than was reserved for them, counted by UTC day for the dashboard. The ledger has each one."""

import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import redis

from billing.meter.connection.pipe import RedisPipe
from billing.meter.errors import MeteringUnavailable
from billing.meter.lease import Lease
from gateway_project.ground.money import NanoUSD, to_usd
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import every_shard, overruns_key, shard_of

logger = logging.getLogger("tenantry.billing")


class Overruns(msgspec.Struct, frozen=True):
    calls: int
    usd: Decimal  # the sum of what exceeded the reservations


async def count_overrun(pipe: RedisPipe, lease: Lease, nano: NanoUSD) -> None:
    """Count one more call, over by `nano`. While Redis is away the count is lost, and no money with it."""
    board, day = overruns_key(shard_of(lease.tenant_id)), datetime.now(UTC).date().isoformat()
    try:
        await pipe.call("HINCRBY", board, f"{day}:calls", 1)
        await pipe.call("HINCRBY", board, f"{day}:nano", nano)
    except MeteringUnavailable:
        logger.warning(
            "an overrun of %s nano-USD is not counted", nano, extra={"request_id": lease.request_id}
        )


def recent_overruns() -> Overruns:
    """The overruns of today and yesterday (UTC); none while Redis is away."""
    today = datetime.now(UTC).date()
    days = (today.isoformat(), (today - timedelta(days=1)).isoformat())
    calls = nano = 0
    try:
        for shard in every_shard():
            found = store().hmget(
                overruns_key(shard), [f"{day}:{kind}" for kind in ("calls", "nano") for day in days]
            )
            calls += sum(int(each or 0) for each in found[:2])
            nano += sum(int(each or 0) for each in found[2:])
    except redis.RedisError:
        return Overruns(0, Decimal(0))
    return Overruns(calls, to_usd(nano))
