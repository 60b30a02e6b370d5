"""Count wrong keys by address, so that guessing keys costs PostgreSQL nothing."""

import time
from collections import OrderedDict

from gateway_project.ground.errors import TenantryError

MOST_FAILURES = 100
WITHIN_SECONDS = 10.0
MOST_ADDRESSES = 10_000


class TooManyFailures(TenantryError):
    """This address has sent too many wrong keys; the current one is not looked up."""

    code = "rate_limited"
    status = 429
    type = "rate_limit_error"

    def __init__(self, seconds: float) -> None:
        wait = max(1, round(seconds))
        super().__init__(
            f"Too many requests with invalid keys from your address. Try again in {wait} s.",
            headers={"retry-after": str(wait)},
            details={"retry_after": wait},
        )


class FailureWindow:
    """Failures by address in fixed windows, for a bounded number of addresses; the oldest is dropped first."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def check(self, address: str, now: float | None = None) -> None:
        """Raises TooManyFailures. Called only for keys that are not in memory, so known ones are never held up."""
        moment = time.monotonic() if now is None else now
        since, count = self._seen.get(address, (moment, 0))
        if count >= MOST_FAILURES and moment - since < WITHIN_SECONDS:
            raise TooManyFailures(WITHIN_SECONDS - (moment - since))

    def failed(self, address: str, now: float | None = None) -> None:
        moment = time.monotonic() if now is None else now
        since, count = self._seen.pop(address, (moment, 0))
        if moment - since >= WITHIN_SECONDS:
            since, count = moment, 0
        self._seen[address] = (since, count + 1)
        if len(self._seen) > MOST_ADDRESSES:
            self._seen.popitem(last=False)
