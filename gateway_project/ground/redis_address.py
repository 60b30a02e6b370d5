"""The address of the meter's Redis: one server, or a cluster as `redis+cluster://host:port,host:port`."""

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import redis
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import ExponentialBackoff
from redis.cluster import ClusterNode
from redis.exceptions import RedisClusterException
from redis.retry import Retry

# The cluster client's "no node can be reached" is no RedisError.
STORE_ERRORS = (redis.RedisError, RedisClusterException)
_SCHEMES = {"redis+cluster": False, "rediss+cluster": True}
Store = redis.Redis | redis.RedisCluster


class ClusterAddress(NamedTuple):
    """The nodes (host and port) from which the others are discovered. `secure` is TLS (`rediss+cluster://`)."""

    nodes: tuple[tuple[str, int], ...]
    username: str | None
    password: str | None
    secure: bool


def cluster_address(url: str) -> ClusterAddress | None:
    """The cluster that `url` names; `None` if it names one server. Raises ImproperlyConfigured."""
    scheme, _, rest = url.partition("://")
    if scheme not in _SCHEMES:
        return None
    login, at, targets = rest.rpartition("@")
    username, _, password = login.partition(":")
    nodes = []
    for target in targets.partition("/")[0].split(","):
        parts = urlsplit(f"//{target}")
        if not parts.hostname:
            raise ImproperlyConfigured(
                f"REDIS_URL: {target!r} is no host:port; a cluster is redis+cluster://host:port,host:port"
            )
        nodes.append((parts.hostname, parts.port or 6379))
    return ClusterAddress(
        nodes=tuple(nodes),
        username=unquote(username) or None,
        password=unquote(password) if at else None,
        secure=_SCHEMES[scheme],
    )


def connect(url: str, *, cluster: type[redis.RedisCluster] = redis.RedisCluster) -> Store:
    """A synchronous client for `url`. For a cluster it is of class `cluster`."""
    address = cluster_address(url)
    if address is None:
        return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    return cluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.nodes],
        username=address.username,
        password=address.password,
        ssl=address.secure,
        require_full_coverage=False,
        retry=Retry(ExponentialBackoff(base=0.05, cap=0.5), 4),
        socket_timeout=2,
        socket_connect_timeout=2,
    )
