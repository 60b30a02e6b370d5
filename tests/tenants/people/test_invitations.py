"""Two people at one link, and who withdraws it meanwhile: in whatever order, one of them wins wholly."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from tenants.models import Invitation, Membership, Role
from tenants.people.invitations import AccountExists, accept, accept_as_new, invite, renew, withdraw
from tenants.people.members import remove_member
from tests.factories import MembershipFactory, UserFactory

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "correct horse battery"


class Other(threading.Thread):
    """Somebody else, on a connection of their own."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__()
        self.act = act
        self.result: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.act()
        except Exception as error:
            self.result = error
        finally:
            connection.close()

    def waits(self) -> bool:
        """Whether it waits for a lock: it has asked PostgreSQL, and has no answer."""
        self.join(0.5)
        return self.is_alive()

    def done(self) -> Any:
        self.join(20)
        assert not self.is_alive()
        return self.result


@pytest.fixture
def open_one():
    owner = MembershipFactory(role=Role.OWNER)
    MembershipFactory(tenant=owner.tenant, role=Role.OWNER)
    return owner, *invite(tenant=owner.tenant, email="ada@example.com", role="owner", invited_by=owner.user)


def test_of_two_new_people_at_one_link_one_joins(open_one):
    _, invitation, token = open_one
    with transaction.atomic():
        first = accept_as_new(token=token, password=PASSWORD)
        second = Other(lambda: accept_as_new(token=token, password=PASSWORD))
        assert second.waits()

    assert first is not None
    assert second.done() is None
    assert User.objects.filter(username="ada@example.com").count() == 1
    assert Membership.objects.filter(tenant=invitation.tenant, user__username="ada@example.com").count() == 1


def test_of_many_at_once_one_joins(open_one):
    _, _, token = open_one
    account = UserFactory(email="ada@example.com")
    people = [Other(lambda: accept(token=token, user=account)) for _ in range(6)]

    joined = [person.done() for person in people]

    assert len([each for each in joined if isinstance(each, Membership)]) == 1
    assert joined.count(None) == 5


def test_one_account_comes_of_two_invitations_to_one_address(open_one):
    _, _, token = open_one
    elsewhere = MembershipFactory(role=Role.OWNER)
    _, other = invite(
        tenant=elsewhere.tenant, email="ada@example.com", role="viewer", invited_by=elsewhere.user
    )
    with transaction.atomic():
        accept_as_new(token=token, password=PASSWORD)
        second = Other(lambda: accept_as_new(token=other, password="somebody else's"))
        assert second.waits()

    assert isinstance(second.done(), AccountExists)
    assert Invitation.objects.get(tenant=elsewhere.tenant).accepted_at is None
    assert User.objects.get(username="ada@example.com").check_password(PASSWORD)


def test_withdrawn_first_nobody_joins(open_one):
    _, invitation, token = open_one
    with transaction.atomic():
        assert withdraw(invitation)
        guest = Other(lambda: accept_as_new(token=token, password=PASSWORD))
        assert guest.waits()

    assert guest.done() is None
    assert not User.objects.filter(username="ada@example.com").exists()


def test_accepted_first_it_cannot_be_withdrawn_or_renewed(open_one):
    _, invitation, token = open_one
    with transaction.atomic():
        assert accept_as_new(token=token, password=PASSWORD)
        owners = [Other(lambda: withdraw(invitation)), Other(lambda: renew(invitation))]
        assert all(other.waits() for other in owners)

    assert [other.done() for other in owners] == [False, None]
    assert Invitation.objects.get().accepted_at is not None


def test_renewed_first_the_link_of_before_is_dead(open_one):
    _, invitation, token = open_one
    with transaction.atomic():
        assert renew(invitation)
        guest = Other(lambda: accept_as_new(token=token, password=PASSWORD))
        assert guest.waits()

    assert guest.done() is None


def test_with_its_author_removed_first_nobody_joins(open_one):
    owner, _, token = open_one
    with transaction.atomic():
        remove_member(owner)
        guest = Other(lambda: accept_as_new(token=token, password=PASSWORD))
        assert guest.waits()

    assert guest.done() is None
    assert not User.objects.filter(username="ada@example.com").exists()


def test_two_owners_invite_one_address_at_once(open_one):
    owner, _, _ = open_one

    def again() -> Any:
        return invite(tenant=owner.tenant, email="bob@example.com", role="viewer", invited_by=owner.user)

    made = [other.done() for other in [Other(again) for _ in range(4)]]

    assert [each for each in made if isinstance(each, Exception)] == []
    assert Invitation.objects.filter(email="bob@example.com", accepted_at=None).count() == 1
