"""Where the meter's Redis is: one server or a cluster."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from gateway_project.ground.redis_address import cluster_address


@pytest.mark.parametrize("url", ["redis://localhost:6379/0", "unix:///run/redis.sock", "rediss://a:1"])
def test_one_server_is_no_cluster(url):
    assert cluster_address(url) is None


def test_nodes_have_a_default_port():
    address = cluster_address("redis+cluster://a,b:7000/0")

    assert address is not None
    assert address.nodes == (("a", 6379), ("b", 7000))
    assert (address.username, address.password, address.secure) == (None, None, False)


def test_a_login_is_unquoted_and_may_hold_an_at():
    address = cluster_address("rediss+cluster://us%40er:p%2Fw@a:1")

    assert address is not None
    assert (address.username, address.password, address.secure) == ("us@er", "p/w", True)


def test_a_password_needs_no_user():
    address = cluster_address("redis+cluster://:secret@a")

    assert address is not None
    assert (address.username, address.password) == (None, "secret")


@pytest.mark.parametrize("url", ["redis+cluster://", "redis+cluster://a,,b", "redis+cluster://:7000"])
def test_a_node_without_a_host_is_refused(url):
    with pytest.raises(ImproperlyConfigured, match="host:port"):
        cluster_address(url)
