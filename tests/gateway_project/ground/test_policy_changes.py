"""How a policy edit is announced: new random tokens, and an outbox for what went past the ORM."""

import pytest

from gateway_project.ground import policy_changes
from gateway_project.ground.policy_changes import put_tokens, replay_policy_changes
from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_keys import every_shard, shard_key, tenant_key
from tenants.models import PolicyChange
from tests.factories import TenantFactory


def token(redis_server, key):
    return redis_server.hget(key, "policy")


def test_a_token_never_comes_back(redis_server):
    seen = set()
    for _ in range(3):
        put_tokens({7})
        seen.add(token(redis_server, tenant_key(7)))

    assert len(seen) == 3


def test_a_change_for_everyone_reaches_every_shard(redis_server):
    put_tokens(None)

    assert all(token(redis_server, shard_key(shard)) for shard in every_shard())


@pytest.mark.django_db
def test_an_edit_is_announced_once_it_is_committed(redis_server, django_capture_on_commit_callbacks):
    tenant = TenantFactory()
    tenant.name = "another"

    with django_capture_on_commit_callbacks(execute=True):
        tenant.save()
        assert token(redis_server, tenant_key(tenant.pk)) is None

    assert token(redis_server, tenant_key(tenant.pk))


@pytest.mark.django_db
def test_the_outbox_is_replayed_once(redis_server):
    tenant = TenantFactory()
    replay_policy_changes()
    redis_server.flushall()
    PolicyChange.objects.create(source="tenants_tenant", tenant_id=tenant.pk)

    assert replay_policy_changes() == 1
    assert replay_policy_changes() == 0
    assert token(redis_server, tenant_key(tenant.pk))


@pytest.mark.django_db
def test_without_redis_an_edit_is_kept_for_the_outbox(
    monkeypatch, django_capture_on_commit_callbacks, caplog
):
    def away(tenant_ids):
        raise STORE_ERRORS[0]("away")

    monkeypatch.setattr(policy_changes, "put_tokens", away)

    with django_capture_on_commit_callbacks(execute=True):
        tenant = TenantFactory()

    assert tenant.pk
    assert "the outbox will" in caplog.text
