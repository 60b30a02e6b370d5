from datetime import timedelta

import pytest
from django.utils import timezone

from tenants.keys import digest_of, issue_key, revoke_key, rotate_key
from tenants.models import ApiKey
from tests.factories import ApiKeyFactory, TenantFactory

pytestmark = pytest.mark.django_db


def test_only_the_digest_of_a_key_is_kept():
    issued = issue_key(tenant=TenantFactory(), name="production")

    row = ApiKey.objects.values().get(pk=issued.api_key.pk)
    assert row["digest"] == digest_of(issued.key)
    assert issued.key not in str(row)


def test_a_key_has_at_least_192_secret_bits():
    issued = issue_key(tenant=TenantFactory(), name="production")

    hidden = issued.key.removeprefix(issued.api_key.prefix)
    assert issued.key.startswith("tn_")
    assert len(hidden) * 6 >= 192


def test_rotating_hands_the_limits_on_and_lets_the_old_key_end():
    old = ApiKeyFactory(max_requests_per_minute=7)

    issued = rotate_key(api_key=old, overlap=timedelta(hours=1))

    old.refresh_from_db()
    assert issued.api_key.max_requests_per_minute == 7
    assert old.replaced_by == issued.api_key
    assert old.state == "live"
    assert old.expires_at <= timezone.now() + timedelta(hours=1)


def test_rotating_without_overlap_ends_the_old_key_now():
    old = ApiKeyFactory()

    rotate_key(api_key=old)

    old.refresh_from_db()
    assert old.state == "revoked"


def test_rotating_never_gives_the_old_key_more_time():
    soon = timezone.now() + timedelta(minutes=1)
    old = ApiKeyFactory(expires_at=soon)

    rotate_key(api_key=old, overlap=timedelta(days=1))

    old.refresh_from_db()
    assert old.expires_at == soon


@pytest.mark.parametrize("end", [rotate_key, revoke_key])
def test_a_key_that_has_ended_is_not_rotated(end):
    old = ApiKeyFactory()
    end(api_key=old)

    with pytest.raises(ValueError, match="Create a new key"):
        rotate_key(api_key=old)


def test_an_expired_key_is_not_rotated_into_one_that_has_expired_too():
    old = ApiKeyFactory(expires_at=timezone.now() - timedelta(minutes=1))

    with pytest.raises(ValueError, match="Create a new key"):
        rotate_key(api_key=old)


def test_revoking_twice_keeps_the_first_time():
    key = ApiKeyFactory()
    revoke_key(api_key=key)
    key.refresh_from_db()
    first = key.revoked_at

    revoke_key(api_key=key)

    key.refresh_from_db()
    assert key.revoked_at == first
