"""The demo's usage: sixty days of its neighbours, once."""

import pytest
from django.contrib.auth import get_user_model

from billing.demo import usage
from billing.demo.tenants import seed_demo
from billing.models import UsageRecord
from tenants.models import Membership, Role

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_is_made_once_and_belongs_to_the_neighbours(redis_server, monkeypatch):
    monkeypatch.setattr(usage, "ROWS", 200)
    seed_demo({})

    usage.seed_usage()
    made = UsageRecord.objects.count()
    usage.seed_usage()

    assert made > 0
    assert UsageRecord.objects.count() == made


def test_the_portal_has_one_owner_with_that_password(redis_server, monkeypatch):
    monkeypatch.setattr(usage, "ROWS", 50)
    seed_demo({})
    usage.seed_usage()

    usage.seed_portal("the first password")
    usage.seed_portal("another password")

    [member] = Membership.objects.filter(user__username=usage.PORTAL_USER)
    assert member.role == Role.OWNER
    assert get_user_model().objects.get(username=usage.PORTAL_USER).check_password("the first password")


def test_without_the_neighbours_there_is_no_portal_user():
    usage.seed_portal("a password")

    assert not get_user_model().objects.filter(username=usage.PORTAL_USER).exists()
