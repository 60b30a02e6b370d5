"""The meter of the running test: one for each event loop, as each process has one."""

import asyncio
from weakref import WeakKeyDictionary

from billing.meter.meter import Meter

_meters: "WeakKeyDictionary[asyncio.AbstractEventLoop, Meter]" = WeakKeyDictionary()


def meter() -> Meter:
    loop = asyncio.get_running_loop()
    found = _meters.get(loop)
    if found is None:
        found = _meters[loop] = Meter()
    return found
