"""Passwords: changed by who is logged in, and chosen again by a link that is mailed."""

import re

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client
from django.urls import reverse

from tenants.models import VerifiedEmail
from tenants.people.passwords import MOST_FOR_AN_ADDRESS, MOST_FROM_AN_IP
from tests.factories import MembershipFactory
from tests.processes import run

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


@pytest.fixture
def ada(worker_at_once):
    return User.objects.create_user("ada", email="ada@example.com", password="the old one, forgotten")


def ask(client, email="ada@example.com", **headers):
    return client.post(reverse("portal:password-forgotten"), {"email": email}, **headers)


def test_a_forgotten_password_is_chosen_again_by_mail(client, ada):
    ask(client)
    [email] = mail.outbox
    link = re.search(r"https?://[^/]+(/portal/password/\S+)", str(email.body))
    assert link
    form = client.get(link[1]).url
    client.post(form, {"new_password1": PASSWORD, "new_password2": PASSWORD})

    assert client.post(reverse("portal:login"), {"username": "ada", "password": PASSWORD}).url == "/portal/"
    assert "has been used" in client.get(link[1]).content.decode()
    assert VerifiedEmail.objects.get(user=ada).email == "ada@example.com"


def test_a_link_is_dead_once_its_account_is_deactivated(client, ada):
    ask(client)
    link = re.search(r"https?://[^/]+(/portal/password/\S+)", str(mail.outbox[0].body))
    assert link
    form = client.get(link[1]).url
    User.objects.filter(pk=ada.pk).update(is_active=False)

    client.post(form, {"new_password1": PASSWORD, "new_password2": PASSWORD})

    ada.refresh_from_db()
    assert not ada.check_password(PASSWORD)
    assert "has been used or has expired" in client.get(link[1]).content.decode()


def test_a_changed_password_ends_the_sessions_elsewhere(client):
    user = MembershipFactory(tenant__slug="acme").user
    user.set_password("the old one")
    user.save()
    elsewhere = Client()
    for browser in (client, elsewhere):
        browser.force_login(user)

    client.post(
        reverse("portal:password"),
        {"old_password": "the old one", "new_password1": PASSWORD, "new_password2": PASSWORD},
    )

    assert client.get("/portal/t/acme/").status_code == 200
    assert elsewhere.get("/portal/t/acme/").status_code == 302


def test_nobody_learns_whether_there_is_an_account(client, ada):
    known, unknown = ask(client), ask(client, "nobody@example.com")

    assert (known.status_code, known.url) == (unknown.status_code, unknown.url)
    assert len(mail.outbox) == 1


@pytest.mark.parametrize("email", ["ada@example.com", "nobody@example.com"])
def test_one_address_is_not_flooded_and_the_answer_says_so_for_all(client, ada, email):
    answers = [ask(client, email.upper() if turn else email) for turn in range(MOST_FOR_AN_ADDRESS + 1)]

    assert [answer.status_code for answer in answers] == [302] * MOST_FOR_AN_ADDRESS + [429]
    assert "password resets for one email address" in answers[-1].content.decode()
    assert len(mail.outbox) <= MOST_FOR_AN_ADDRESS


def test_many_addresses_from_one_place_end_at_a_limit(client, ada):
    answers = [ask(client, f"person{number}@example.com") for number in range(MOST_FROM_AN_IP + 1)]
    elsewhere = ask(client, REMOTE_ADDR="198.51.100.7")

    assert answers[-2].status_code == 302
    assert answers[-1].status_code == 429
    assert elsewhere.status_code == 302


def test_the_link_starts_with_the_public_address_whatever_the_host_says(client, ada, settings):
    settings.PUBLIC_URL = "https://gateway.example.com"
    settings.ALLOWED_HOSTS = ["*"]

    ask(client, headers={"host": "evil.example:6666"})

    assert "https://gateway.example.com/portal/password/" in str(mail.outbox[0].body)
    assert "evil" not in str(mail.outbox[0].body)


def test_without_mail_the_page_says_whom_to_ask(client, settings):
    settings.EMAIL_HOST = ""

    for answer in (ask(client), client.get(reverse("portal:password-forgotten"))):
        assert "This installation does not send email" in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_the_page_says_so():
    code = """
from django.test import Client
answer = Client().post("/portal/password/forgotten/", {"email": "ada@example.com"})
assert answer.status_code == 503, answer.status_code
assert "Try again in a few minutes" in answer.content.decode()
"""
    assert run(code, CELERY_BROKER_URL="redis://127.0.0.1:1/0", ALLOWED_HOSTS="testserver") == 0


def test_a_password_is_changed_by_members_alone(client):
    assert client.get(reverse("portal:password")).url.startswith("/portal/login/")
    client.force_login(MembershipFactory().user)
    assert b"Change your password" in client.get(reverse("portal:password")).content
