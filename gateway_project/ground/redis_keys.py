"""Every Redis key of the product, spelled once. Running installations have data under these names.

All keys of a tenant and of its shard carry the shard's hash tag, so that every script touches one slot of a cluster.
The part of a counter's or window's key after its tenant's key is its *name*. Leases contain such names.
"""

from collections.abc import Iterable

from django.conf import settings

# Read once: Django's settings take 0.4 µs for each access, and a request needs this six times.
SHARDS: int = settings.METER_SHARDS

# Hash: the circuit breakers of all processes that are not closed.
BREAKER_BOARD = "tenantry:breakers"
# Sorted set: the processes that run. Hash: the periodic tasks whose last run failed.
PROCESSES = "tenantry:processes"
TASK_BOARD = "tenantry:failing-tasks"


def shard_of(tenant_id: int) -> int:
    return tenant_id % SHARDS


def tag(shard: int) -> str:
    """The hash tag of a shard: `{s3}`."""
    return f"{{s{shard}}}"


def every_shard() -> range:
    return range(SHARDS)


def every_tag() -> list[str]:
    return [tag(shard) for shard in every_shard()]


# Of a shard


def shard_key(shard: int) -> str:
    """Hash: `epoch`, `opens_ms`, `policy` (the token of all policies)."""
    return f"{tag(shard)}:shard"


def workers_key(shard: int) -> str:
    """Sorted set: worker processes by the millisecond of their last heartbeat."""
    return f"{tag(shard)}:workers"


def busy_key(shard: int) -> str:
    """Set: tenants with open leases."""
    return f"{tag(shard)}:busy"


def usage_stream(shard: int) -> str:
    """Stream: settled calls on their way to the ledger."""
    return f"{tag(shard)}:usage"


def poison_stream(shard: int) -> str:
    """Stream: usage events that could not be read, set aside."""
    return f"{tag(shard)}:usage:poison"


def tombstone_key(shard: int, request_id: str) -> str:
    """String that expires: the state in which the lease of `request_id` ended."""
    return f"{{s{shard}}}:done:{request_id}"  # `tag` spelled out: one function less a call


def overruns_key(shard: int) -> str:
    """Hash: number and excess of calls that cost more than was reserved for them, by day."""
    return f"{tag(shard)}:overruns"


# Of a tenant


def tenant_key(tenant_id: int) -> str:
    """Hash: `policy` (the tenant's token). Prefix of all its other keys."""
    return f"{tag(shard_of(tenant_id))}:t:{tenant_id}"


def leases_key(tenant_id: int) -> str:
    """Hash: open leases by request id."""
    return f"{tenant_key(tenant_id)}:leases"


def named_key(tenant_id: int, name: str) -> str:
    """The key of one of the tenant's counters or windows."""
    return f"{tenant_key(tenant_id)}:{name}"


def named_keys(key_prefix: str, names: Iterable[str]) -> list[str]:
    """The keys of `names` below a tenant's key. An empty name, for what does not exist, gives the prefix itself."""
    return [f"{key_prefix}:{name}" if name else key_prefix for name in names]


def idempotency_key(tenant_id: int, digest: str = "") -> str:
    """String: the answer kept for a caller's idempotency key. Without `digest`, the prefix of all the tenant's."""
    return f"{tenant_key(tenant_id)}:idem:{digest}"


def idempotency_index(tenant_id: int) -> str:
    """Sorted set: the answers kept, by the millisecond in which each was stored."""
    return f"{tenant_key(tenant_id)}:idem"


def idempotency_bytes(tenant_id: int) -> str:
    """String: how many bytes the tenant's kept answers take."""
    return f"{tenant_key(tenant_id)}:idem-bytes"


def counter_patterns(tenant_id: int) -> tuple[str, ...]:
    """The glob patterns that match all of a tenant's counters."""
    key = tenant_key(tenant_id)
    return f"{key}:b:*", f"{key}:d:*", f"{key}:[kur]:*:b:*"


# Names below a tenant's key: counters (hash: `spent` or `tokens`, `held`) and windows (sorted set: requests by µs).
# `user`, `run` and `conversation` are digests of the names that callers give them.

LEASES = "leases"
PREPAID_COUNTER = "b:prepaid"
TENANT_WINDOW = "rpm"
SHADOW_WINDOW = "shadow:rpm"


def budget_counter(period: str) -> str:
    """The tenant's spend in the period that starts on `period`."""
    return f"b:{period}"


def key_counter(key_id: int, period: str) -> str:
    return f"k:{key_id}:b:{period}"


def user_counter(user: str, period: str) -> str:
    return f"u:{user}:b:{period}"


def run_counter(run: str) -> str:
    return f"r:{run}:b"


def day_counter(day: str) -> str:
    """The tenant's tokens on `day`."""
    return f"d:{day}"


def key_window(key_id: int) -> str:
    return f"k:{key_id}:rpm"


def user_window(user: str) -> str:
    return f"u:{user}:rpm"


def conversation_name(conversation: str) -> str:
    """String: the index of the candidate that serves the conversation."""
    return f"c:{conversation}"
