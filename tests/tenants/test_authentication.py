"""Keys become principals; every way of changing a policy is seen by the next look."""

from datetime import timedelta

import pytest
from django.db import OperationalError, connection

from gateway_project.ground.by_token import forget_all
from gateway_project.ground.policy_changes import replay_policy_changes
from tenants import authentication, snapshots
from tenants.authentication import Authenticator
from tenants.keys import issue_key, revoke_key, rotate_key
from tenants.models import ApiKey, Tenant
from tests.factories import ModelFactory, TenantFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def authenticator(redis_server):
    """Of a process that has seen nobody yet."""
    forget_all()
    authenticator = Authenticator()
    yield authenticator
    authenticator.close()


@pytest.fixture
def tenant():
    return TenantFactory()


@pytest.fixture
def issued(tenant):
    return issue_key(tenant=tenant, name="main")


async def whoami(authenticator, key):
    return await authenticator.authenticate({"x-api-key": key})


async def test_a_key_names_its_tenant(authenticator, issued, tenant):
    principal = await whoami(authenticator, issued.key)

    assert principal.policy.slug == tenant.slug
    assert principal.key.id == issued.api_key.pk


def test_only_the_digest_is_stored(issued):
    row = ApiKey.objects.values().get()
    assert issued.key not in str(row)
    assert issued.key.startswith(row["prefix"])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": "tn_unknown"},
        {"x-api-key": "' OR 1=1 --"},
        {"x-api-key": "KEY", "authorization": "Bearer tn_another"},
        {"x-api-key": "KEY, KEY"},
        {"authorization": "Basic KEY"},
    ],
)
async def test_what_is_no_key_is_refused_alike(authenticator, issued, headers):
    headers = {name: value.replace("KEY", issued.key) for name, value in headers.items()}

    with pytest.raises(authentication.InvalidApiKey):
        await authenticator.authenticate(headers)


async def test_the_same_key_in_both_headers_is_one_key(authenticator, issued):
    await authenticator.authenticate({"x-api-key": issued.key, "authorization": f"Bearer {issued.key}"})


async def test_a_revoked_key_says_so(authenticator, issued):
    from asgiref.sync import sync_to_async

    await sync_to_async(revoke_key)(api_key=issued.api_key)

    with pytest.raises(authentication.KeyRevoked):
        await whoami(authenticator, issued.key)


def test_a_rotated_key_overlaps_with_its_successor(issued):
    successor = rotate_key(api_key=issued.api_key, overlap=timedelta(hours=1))

    issued.api_key.refresh_from_db()
    assert issued.api_key.expires_at is not None
    assert issued.api_key.replaced_by == successor.api_key


async def test_the_database_being_away_is_never_a_401(authenticator, issued, monkeypatch):
    def away(digest):
        raise OperationalError

    monkeypatch.setattr(authentication, "load_principal", away)

    with pytest.raises(authentication.PolicyUnavailable):
        await whoami(authenticator, "tn_never-seen")


async def test_a_known_key_is_served_while_the_database_is_away(authenticator, issued, monkeypatch):
    await whoami(authenticator, issued.key)
    monkeypatch.setattr(authentication, "load_principal", None)

    await whoami(authenticator, issued.key)


def edit_by_save(tenant):
    tenant.max_requests_per_minute = 5
    tenant.save()


def edit_by_update(tenant):
    Tenant.objects.filter(pk=tenant.pk).update(max_requests_per_minute=5)


def edit_the_tier(tenant):
    tenant.tier.max_requests_per_minute = 5
    tenant.tier.save()


def edit_allowed_models(tenant):
    tenant.allowed_models.set([ModelFactory()])


def edit_a_key(tenant):
    revoke_key(api_key=tenant.keys.get())


def edit_by_sql(tenant):
    replay_policy_changes()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tenants_tenant SET max_requests_per_minute = 5")
    assert replay_policy_changes() == 1


@pytest.mark.parametrize(
    "edit",
    [edit_by_save, edit_by_update, edit_the_tier, edit_allowed_models, edit_a_key, edit_by_sql],
)
def test_every_way_of_editing_a_policy_changes_its_version(tenant, issued, edit):
    before = snapshots.read_version(tenant.pk)

    edit(tenant)

    assert snapshots.read_version(tenant.pk) != before


def test_a_key_being_used_is_no_change_of_policy(tenant, issued):
    replay_policy_changes()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tenants_apikey SET last_used_at = now()")

    assert replay_policy_changes() == 0
