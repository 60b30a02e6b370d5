"""Links to choose a new password."""

import pytest
from django.core import mail

from tenants.people.email_limits import TooManyEmails
from tenants.people.passwords import MOST_FOR_AN_ADDRESS, MOST_FROM_AN_IP, count_request, mail_links
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def test_each_account_of_an_address_gets_a_link_of_its_own():
    for name in ("ada", "ada2"):
        user = UserFactory(username=name, email="ada@example.com")
        user.set_password("a long enough password")
        user.save()

    assert mail_links("ada@example.com") == 2
    assert len({message.body for message in mail.outbox}) == 2


def test_an_unknown_address_gets_nothing():
    assert mail_links("nobody@example.com") == 0
    assert mail.outbox == []


def test_an_address_is_counted_in_any_case_and_whoever_asks():
    for number in range(MOST_FOR_AN_ADDRESS):
        count_request(email="ada@example.com", ip=f"203.0.113.{number}")

    with pytest.raises(TooManyEmails, match="for one email address"):
        count_request(email=" ADA@example.com", ip="203.0.113.99")


def test_one_network_address_is_counted_whatever_it_asks_for():
    for number in range(MOST_FROM_AN_IP):
        count_request(email=f"{number}@example.com", ip="203.0.113.1")

    with pytest.raises(TooManyEmails, match="from one IP address"):
        count_request(email="another@example.com", ip="203.0.113.1")
