"""Logging in: the second factor, and what guessing passwords meets."""

import re
import time
from io import StringIO

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django_otp.oath import TOTP

from tenants.models import SecondFactor
from tenants.second_factors import set_up
from tests.factories import SecondFactorFactory, StaffFactory, UserFactory

pytestmark = pytest.mark.django_db
DOORS = ["/admin/login/", "/portal/login/"]


def person(door: str) -> User:
    user = StaffFactory() if door.startswith("/admin/") else UserFactory()
    user.set_password("a long enough password")
    user.save()
    return user


def code_of(device: SecondFactor, *, steps: int = 0) -> str:
    totp = TOTP(device.seed)
    totp.time = time.time() + 30 * steps
    return f"{totp.token():06d}"


def log_in(client, door, user, *, password="a long enough password", code=""):
    return client.post(door, {"username": user.username, "password": password, "code": code})


@pytest.mark.parametrize("door", DOORS)
def test_without_a_second_factor_the_password_is_enough(client, door):
    assert log_in(client, door, person(door)).status_code == 302


@pytest.mark.parametrize("door", DOORS)
def test_with_one_the_code_is_asked_for(client, door):
    user = person(door)
    device = SecondFactorFactory(user=user)

    without = log_in(client, door, user)
    wrong = log_in(client, door, user, code="000000")
    SecondFactor.objects.update(throttling_failure_count=0)
    right = log_in(client, door, user, code=code_of(device))

    assert (without.status_code, wrong.status_code, right.status_code) == (200, 200, 302)
    assert "one-time code" in without.content.decode()


def test_a_wrong_password_is_not_told_whether_there_is_a_second_factor(client):
    user = person("/portal/login/")
    SecondFactorFactory(user=user)

    answer = log_in(client, "/portal/login/", user, password="wrong")

    assert "authenticator" not in answer.content.decode()


def test_it_is_set_up_by_one_code_and_taken_away_by_another(client):
    user = person("/portal/login/")
    client.force_login(user)
    page = client.get("/account/second-factor/").content.decode()
    device = SecondFactor.objects.get(user=user)
    assert "data:image/svg+xml" in page
    assert not device.confirmed

    client.post("/account/second-factor/", {"code": code_of(device)})
    device.refresh_from_db()
    assert device.confirmed
    assert "data:image/svg+xml" not in client.get("/account/second-factor/").content.decode()

    client.post("/account/second-factor/", {"code": code_of(device, steps=1)})
    assert not SecondFactor.objects.filter(confirmed=True).exists()


@pytest.mark.parametrize("door", DOORS)
def test_guessing_a_password_is_stopped_for_that_name_from_that_address(client, settings, door):
    user, other = person(door), person(door)
    for _ in range(settings.AXES_FAILURE_LIMIT):
        log_in(client, door, user, password="wrong")

    right = log_in(client, door, user)

    assert right.status_code == 429
    assert right["Retry-After"] == "900"
    assert log_in(client, door, other).status_code == 302


def test_strangers_are_sent_to_log_in_first(client):
    assert client.get("/account/second-factor/")["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("door", DOORS)
def test_a_code_is_taken_once(client, door):
    user = person(door)
    code = code_of(SecondFactorFactory(user=user))

    first, second = (log_in(client, door, user, code=code) for _ in range(2))

    assert (first.status_code, second.status_code) == (302, 200)


@pytest.mark.parametrize("code", ["1" * 5_000, "\u0661" * 6, "-1", "1e5", "\0"])
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_code_is_refused_as_a_wrong_one(client, door, code):
    user = person(door)
    SecondFactorFactory(user=user)

    answer = log_in(client, door, user, code=code)

    assert answer.status_code == 200
    assert not answer.wsgi_request.user.is_authenticated


def test_a_seed_is_not_in_the_database_as_it_is():
    device = set_up(UserFactory())

    with connection.cursor() as cursor:
        cursor.execute("SELECT secret FROM tenants_secondfactor")
        [stored] = cursor.fetchone()

    assert stored.startswith("enc:")
    assert device.seed.hex() not in stored


@pytest.mark.parametrize("door", DOORS)
def test_nobody_gets_in_while_the_key_of_a_seed_is_missing(client, settings, door):
    user = person(door)
    device = SecondFactorFactory(user=user)
    code = code_of(device)
    settings.SECRETS_KEYS = ["another passphrase of more than 32 characters"]

    answers = [log_in(client, door, user, code=given) for given in (code, "")]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert "lacks the key" in answers[0].content.decode()
    assert "_auth_user_id" not in client.session


def test_a_set_up_that_was_not_finished_begins_again_when_its_key_is_missing(client, settings):
    user = UserFactory()
    client.force_login(user)
    client.get("/account/second-factor/")
    settings.SECRETS_KEYS = ["another passphrase of more than 32 characters"]
    client.force_login(user)

    page = client.get("/account/second-factor/").content.decode()
    client.post("/account/second-factor/", {"code": code_of(SecondFactor.objects.get(user=user))})

    assert "data:image/svg+xml" in page
    assert SecondFactor.objects.get(user=user).confirmed


def test_secrets_are_rotated_with_second_factors_among_them(client, settings):
    user = person("/portal/login/")
    device = SecondFactorFactory(user=user)
    new, old = "a new passphrase of more than 32 characters", settings.SECRETS_KEYS
    settings.SECRETS_KEYS = [new, *old]

    call_command("rotate_secrets", stdout=StringIO())
    settings.SECRETS_KEYS = [new]

    device.refresh_from_db()
    assert log_in(client, "/portal/login/", user, code=code_of(device)).status_code == 302


def test_an_operator_removes_the_second_factor_of_who_lost_the_app(client):
    user = person("/portal/login/")
    SecondFactorFactory(user=user)

    call_command("remove_second_factor", user.username, stdout=StringIO())

    assert log_in(client, "/portal/login/", user).status_code == 302
    for name in (user.username, "nobody"):
        with pytest.raises(CommandError, match=name):
            call_command("remove_second_factor", name)


def test_what_is_kept_of_a_failed_login_holds_no_code_and_no_link(client):
    door = "/portal/login/?next=/portal/join/the-link-of-an-invitation/"
    client.post(door, {"username": "ada", "password": "wrong", "code": "123456", "next": "/portal/join/x/"})

    kept = AccessAttempt.objects.get()

    for text in (kept.get_data, kept.post_data, kept.path_info):
        assert not re.search("the-link|123456", text)
        assert "/portal/join/" not in text


def test_a_copy_of_the_sessions_opens_none(client):
    client.force_login(UserFactory())
    session = client.session
    session["reset"] = "a token that lets somebody in"
    session.save()
    cookie = client.cookies["sessionid"].value
    [row] = Session.objects.all()

    stranger = Client()
    stranger.cookies["sessionid"] = row.session_key
    thief = stranger.get("/portal/password/")

    assert cookie not in f"{row.session_key} {row.session_data}"
    assert row.session_data.startswith("enc:")
    assert client.session["reset"] == "a token that lets somebody in"
    assert thief["Location"].startswith("/portal/login/")
    assert client.get("/portal/password/").status_code == 200


def test_a_session_ends_with_its_log_out_and_with_its_key(client, settings):
    client.force_login(UserFactory())
    client.post("/portal/logout/")
    assert not Session.objects.exists()

    client.force_login(UserFactory())
    settings.SECRETS_KEYS = ["another passphrase of more than 32 characters"]
    assert client.get("/portal/password/").status_code == 302
