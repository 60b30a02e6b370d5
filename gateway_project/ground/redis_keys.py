"""Where a tenant's meter lives: one hash tag for all its keys, so that every script touches one slot."""

from django.conf import settings

# Read once: a look at Django's settings costs 0.4 µs, and this one six of them a request.
SHARDS: int = settings.METER_SHARDS


def shard_of(tenant_id: int) -> int:
    return tenant_id % SHARDS


def tag(shard: int) -> str:
    """The hash tag of a shard: `{s3}`."""
    return f"{{s{shard}}}"


def every_tag() -> list[str]:
    return [tag(shard) for shard in range(SHARDS)]


def tenant_key(tenant_id: int) -> str:
    """The tenant's hash: `policy` (its token); prefix of all its other keys."""
    return f"{tag(shard_of(tenant_id))}:t:{tenant_id}"
