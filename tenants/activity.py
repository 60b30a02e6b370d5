"""What tenants are doing now, from the meter: for lists and pages, never for a decision."""

from collections.abc import Sequence

import msgspec
from django.utils import timezone

from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import TENANT_WINDOW, day_counter, leases_key, named_key
from tenants.models import Tenant
from tenants.periods import day_of

MINUTE_US = 60_000_000


class TenantActivity(msgspec.Struct, frozen=True):
    """Requests admitted in the last 60 seconds, open calls, and tokens used in the tenant's own day."""

    requests_minute: int
    open_calls: int
    tokens_today: int


def activity(tenants: Sequence[Tenant]) -> dict[int, TenantActivity]:
    """The activity of `tenants` by id, in one round trip; empty while Redis is away."""
    now = timezone.now()
    try:
        with store().pipeline(transaction=False) as pipeline:
            for tenant in tenants:
                pipeline.zcount(
                    named_key(tenant.pk, TENANT_WINDOW),
                    f"({int(now.timestamp() * 1_000_000) - MINUTE_US}",
                    "+inf",
                )
                pipeline.hlen(leases_key(tenant.pk))
                pipeline.hget(
                    named_key(tenant.pk, day_counter(day_of(now.timestamp(), tenant.timezone).name)), "tokens"
                )
            answers = pipeline.execute() if tenants else []
    except STORE_ERRORS:
        return {}
    return {
        tenant.pk: TenantActivity(minute, calls, int(tokens or 0))
        for tenant, minute, calls, tokens in zip(
            tenants, answers[::3], answers[1::3], answers[2::3], strict=True
        )
    }
