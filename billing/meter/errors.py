"""The meter's refusals, as the contract's error table has them."""

from datetime import datetime
from decimal import Decimal
from math import ceil

from gateway_project.ground.errors import TenantryError


def _duration(seconds: int) -> str:
    """`seconds` as text, in whole minutes (rounded up) from one minute on: `6 h 27 min`."""
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(-(-seconds // 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class MeteringUnavailable(TenantryError):
    """Redis is away or its counters are cold. Nothing is admitted unmetered."""

    code = "metering_unavailable"
    status = 503
    type = "api_error"

    def __init__(self, message: str = "Metering is unavailable. Try again shortly.") -> None:
        super().__init__(message, headers={"retry-after": "1"})


class RateLimited(TenantryError):
    """A sliding window of `limit` requests is full; there is room again in `retry_ms`."""

    code = "rate_limited"
    status = 429
    type = "rate_limit_error"

    def __init__(self, message: str, *, retry_ms: int, limit: int | None = None) -> None:
        seconds = max(1, ceil(retry_ms / 1000))
        self.limit = limit
        self.seconds = seconds
        super().__init__(
            f"{message} Try again in {seconds} s.",
            details={"retry_after": seconds},
            headers={"retry-after": str(seconds)},
        )


class UserRateLimited(RateLimited):
    code = "user_rate_limited"


class ConcurrencyLimited(RateLimited):
    code = "concurrency_limited"


class DailyTokensExceeded(TenantryError):
    """The day's tokens are used up. The tenant's day ends in `seconds`."""

    code = "daily_tokens_exceeded"
    status = 429
    type = "rate_limit_error"

    def __init__(self, *, limit: int, seconds: int) -> None:
        self.limit = limit
        self.seconds = seconds
        super().__init__(
            f"The daily limit of {limit:,} tokens has been reached. It resets in {_duration(seconds)}.",
            details={"retry_after": seconds},
            headers={"retry-after": str(seconds), "x-should-retry": "false"},
        )


class BudgetExceeded(TenantryError):
    """A budget has no room for this call. `scope` is tenant, key, user or run."""

    code = "budget_exceeded"
    status = 402
    type = "billing_error"

    def __init__(
        self, *, scope: str, spend_usd: Decimal, budget_usd: Decimal, resets_at: datetime | None
    ) -> None:
        super().__init__(
            self._explained(scope=scope, spend_usd=spend_usd, budget_usd=budget_usd),
            details={
                "scope": scope,
                "spend_usd": f"{spend_usd:f}",
                "budget_usd": f"{budget_usd:f}",
                "resets_at": resets_at.isoformat().replace("+00:00", "Z") if resets_at else None,
            },
            headers={"x-should-retry": "false"},
        )

    def _explained(self, *, scope: str, spend_usd: Decimal, budget_usd: Decimal) -> str:
        return f"The {scope}'s budget of ${budget_usd:f} does not cover this call: ${spend_usd:f} is already spent."


class DowngradeDeclined(BudgetExceeded):
    """Only a cheaper model would serve now, and the caller declined one."""

    def _explained(self, *, scope: str, spend_usd: Decimal, budget_usd: Decimal) -> str:
        return (
            f"${spend_usd:f} of the {scope}'s budget of ${budget_usd:f} is spent, so only a cheaper model can serve "
            "this call. To allow it, remove the x-tenantry-no-downgrade header."
        )
