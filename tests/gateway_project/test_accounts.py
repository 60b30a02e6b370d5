"""Logging in: the second factor, and what guessing passwords meets."""

import time

import pytest
from django.contrib.auth.models import User
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from tests.factories import StaffFactory, UserFactory

pytestmark = pytest.mark.django_db
DOORS = ["/admin/login/", "/portal/login/"]


def person(door: str) -> User:
    user = StaffFactory() if door.startswith("/admin/") else UserFactory()
    user.set_password("a long enough password")
    user.save()
    return user


def code_of(device: TOTPDevice, *, steps: int = 0) -> str:
    totp = TOTP(device.bin_key)
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
    device = TOTPDevice.objects.create(user=user, confirmed=True)

    without = log_in(client, door, user)
    wrong = log_in(client, door, user, code="000000")
    TOTPDevice.objects.update(throttling_failure_count=0)
    right = log_in(client, door, user, code=code_of(device))

    assert (without.status_code, wrong.status_code, right.status_code) == (200, 200, 302)
    assert "one-time code" in without.content.decode()


def test_a_wrong_password_is_not_told_whether_there_is_a_second_factor(client):
    user = person("/portal/login/")
    TOTPDevice.objects.create(user=user, confirmed=True)

    answer = log_in(client, "/portal/login/", user, password="wrong")

    assert "authenticator" not in answer.content.decode()


def test_it_is_set_up_by_one_code_and_taken_away_by_another(client):
    user = person("/portal/login/")
    client.force_login(user)
    page = client.get("/account/second-factor/").content.decode()
    device = TOTPDevice.objects.get(user=user)
    assert "data:image/svg+xml" in page
    assert not device.confirmed

    client.post("/account/second-factor/", {"code": code_of(device)})
    device.refresh_from_db()
    assert device.confirmed
    assert "data:image/svg+xml" not in client.get("/account/second-factor/").content.decode()

    client.post("/account/second-factor/", {"code": code_of(device, steps=1)})
    assert not TOTPDevice.objects.filter(confirmed=True).exists()


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
