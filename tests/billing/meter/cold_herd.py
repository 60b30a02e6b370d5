"""One of several processes that find the same tenants cold at the same moment.

Says that it is ready, waits for a line, and prints how many counters it had to sum.
"""

import asyncio
import json
import sys
import time
from typing import Any

import django

django.setup()

from billing.meter import rebuild  # noqa: E402 - models need Django set up
from billing.meter.meter import Meter  # noqa: E402
from billing.meter.rebuild import MissingCounter, Rebuilder  # noqa: E402

built: list[MissingCounter] = []


def counting(waiting: Any) -> Any:
    built.extend(waiting)
    return totals(waiting)


totals, rebuild.ledger_totals = rebuild.ledger_totals, counting


def colds(tenant_ids: list[int], day: str) -> list[MissingCounter]:
    """The budget and the day of each tenant."""
    far = int(time.time()) + 3600
    return [
        MissingCounter(tenant_id, counter, scope, day, day, 0, "", "", far)
        for tenant_id in tenant_ids
        for counter, scope in ((f"b:{day}", "tenant"), (f"d:{day}", "day"))
    ]


async def main() -> None:
    day, *tenant_ids = sys.argv[1:]
    meter = Meter()
    await meter.pipe.call("PING")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    rebuilder = Rebuilder(meter.pipe)
    await asyncio.gather(
        *(rebuilder.rebuild(cold) for cold in colds([int(each) for each in tenant_ids], day))
    )
    print(json.dumps(len(built)))
    await meter.close()


if __name__ == "__main__":
    asyncio.run(main())
