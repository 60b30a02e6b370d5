"""Logging in: the second factor, and what guessing passwords meets."""

import re
import time

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django_otp.oath import TOTP

from tenants.models import SecondFactor
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
    assert "current code from your authenticator app" in without.content.decode()


def test_a_wrong_password_is_not_told_whether_there_is_a_second_factor(client):
    user = person("/portal/login/")
    SecondFactorFactory(user=user)

    answer = log_in(client, "/portal/login/", user, password="wrong")

    assert "authenticator" not in answer.content.decode()


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


def test_what_is_kept_of_a_failed_login_holds_no_code_and_no_link(client):
    door = "/portal/login/?next=/portal/join/the-link-of-an-invitation/"
    client.post(door, {"username": "ada", "password": "wrong", "code": "123456", "next": "/portal/join/x/"})

    kept = AccessAttempt.objects.get()

    for text in (kept.get_data, kept.post_data, kept.path_info):
        assert not re.search("the-link|123456", text)
        assert "/portal/join/" not in text
