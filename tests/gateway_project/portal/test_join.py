"""The link of an invitation: whom it lets in, and as whom."""

import pytest

from tenants.models import Membership, VerifiedEmail
from tests.factories import UserFactory
from tests.gateway_project.portal.test_people import PASSWORD, invites, mailed_link, row

pytestmark = pytest.mark.django_db


def test_the_link_is_mailed_and_makes_a_member_once(log_in, owner):
    invites(log_in(owner.user), role="developer")
    guest, link = log_in(), mailed_link()
    assert b"Choose a password" in guest.get(link).content
    assert guest.post(link, {"password": "short"}).status_code == 200

    joined = guest.post(link, {"password": PASSWORD})

    assert joined.url == "/portal/t/acme/"
    assert Membership.objects.get(user__username="ada@example.com").role == "developer"
    assert log_in().get(link).status_code == 404


def test_opening_the_mailed_link_verifies_the_address(log_in, owner):
    invites(log_in(owner.user))
    log_in().post(mailed_link(), {"password": PASSWORD})

    assert VerifiedEmail.objects.get().email == "ada@example.com"


@pytest.mark.parametrize("known_as", ["username", "email"])
def test_an_address_with_an_account_joins_by_that_account_alone(log_in, owner, known_as):
    names = {"username": "ada", "email": "ada@example.com"} | {known_as: "Ada@example.com"}
    account = UserFactory(**names)
    stranger = UserFactory()
    invites(log_in(owner.user))
    link = mailed_link()

    nobody = log_in().post(link, {"password": PASSWORD})
    other = log_in(stranger).post(link)

    assert nobody.url.startswith("/portal/login/")
    assert "This invitation is for" in other.content.decode()
    assert not Membership.objects.filter(user__in=[account, stranger]).exists()
    assert log_in(account).post(link).url == "/portal/t/acme/"


def test_who_is_logged_in_as_somebody_else_makes_no_account_and_gives_theirs_no_role(log_in, owner):
    stranger = UserFactory()
    invites(log_in(owner.user), role="owner")

    page = log_in(stranger).post(mailed_link(), {"password": PASSWORD}).content.decode()

    assert "Log out and continue" in page
    assert not Membership.objects.filter(user=stranger).exists()
    assert row().accepted_at is None
