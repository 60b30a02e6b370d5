"""An address is verified for the account that has it now."""

import pytest
from django.contrib.auth.models import User

from tenants.people.verified_emails import has_verified_email, mark_verified
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def verified(user):
    return User.objects.annotate(known=has_verified_email()).get(pk=user.pk).known


def test_an_address_counts_as_email_or_as_name_in_any_case():
    by_email, by_name = UserFactory(email="ada@example.com"), UserFactory(username="bob@example.com")
    mark_verified(by_email, "Ada@Example.com")
    mark_verified(by_name, "bob@example.com")

    assert verified(by_email)
    assert verified(by_name)


def test_a_new_address_is_not_verified_by_the_old_one():
    user = UserFactory(email="ada@example.com")
    mark_verified(user, "ada@example.com")
    user.email = "other@example.com"
    user.save()

    assert not verified(user)


def test_marking_twice_keeps_the_last_address():
    user = UserFactory(email="new@example.com")
    mark_verified(user, "old@example.com")
    mark_verified(user, "new@example.com")

    assert verified(user)
