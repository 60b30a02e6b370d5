"""A PostgreSQL and a Redis of one's own: there, and new enough."""

import os

import pytest

from gateway_project.server import store_versions
from gateway_project.server.store_versions import StoreError, check_postgres, check_redis


def test_the_suites_own_servers_are_new_enough(redis_server):
    check_postgres(os.environ["DATABASE_URL"])
    assert check_redis(os.environ["REDIS_URL"]) is None


def test_an_old_postgresql_is_refused_by_its_version(monkeypatch):
    monkeypatch.setattr(store_versions, "LEAST_POSTGRES", 99)

    with pytest.raises(
        StoreError, match="PostgreSQL at DATABASE_URL is version 18; Tenantry needs 99 or later"
    ):
        check_postgres(os.environ["DATABASE_URL"])


def test_an_old_redis_is_refused_by_its_version(monkeypatch):
    monkeypatch.setattr(store_versions, "LEAST_REDIS", 99)

    with pytest.raises(
        StoreError, match=r"Redis at REDIS_URL is version \d+\.\S+; Tenantry needs 99 or later"
    ):
        check_redis(os.environ["REDIS_URL"])


def test_a_redis_that_evicts_is_warned_of(redis_server):
    redis_server.config_set("maxmemory-policy", "allkeys-lru")
    try:
        warning = check_redis(os.environ["REDIS_URL"])
    finally:
        redis_server.config_set("maxmemory-policy", "noeviction")

    assert warning is not None
    assert "Set maxmemory-policy noeviction" in warning


@pytest.mark.parametrize(
    "url", ["postgresql://127.0.0.1:1/x", "postgresql://nowhere.invalid/x", "no url at all"]
)
def test_a_postgresql_that_is_not_there_is_one_sentence(url):
    with pytest.raises(
        StoreError, match=r"^PostgreSQL at DATABASE_URL cannot be used: .* or correct DATABASE_URL\.$"
    ):
        check_postgres(url)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "unix:///nowhere/redis.sock", "http://127.0.0.1/"])
def test_a_redis_that_is_not_there_is_one_sentence(url):
    with pytest.raises(StoreError, match=r"^Redis at REDIS_URL cannot be used: .* or correct REDIS_URL\.$"):
        check_redis(url)
