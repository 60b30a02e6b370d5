"""What tenants do at this moment, as the meter's Redis has it."""

import time

import pytest
from django.utils import timezone

from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_keys import TENANT_WINDOW, day_counter, leases_key, named_key
from tenants import activity as module
from tenants.activity import TenantActivity, activity
from tenants.periods import day_of
from tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


def test_it_has_the_last_minute_open_calls_and_the_days_tokens(redis_server):
    busy, idle = TenantFactory(), TenantFactory()
    now = int(time.time() * 1_000_000)
    redis_server.zadd(named_key(busy.pk, TENANT_WINDOW), {"old": now - 61_000_000, "new": now})
    redis_server.hset(leases_key(busy.pk), mapping={"a": "1", "b": "1"})
    day = day_counter(day_of(timezone.now().timestamp(), busy.timezone).name)
    redis_server.hset(named_key(busy.pk, day), "tokens", 1234)

    assert activity([busy, idle]) == {busy.pk: TenantActivity(1, 2, 1234), idle.pk: TenantActivity(0, 0, 0)}


def test_nothing_is_known_while_redis_is_away(monkeypatch):
    def away():
        raise STORE_ERRORS[0]("away")

    monkeypatch.setattr(module, "store", away)

    assert activity([TenantFactory()]) == {}
