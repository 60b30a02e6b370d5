"""The second factor: how it begins, how it is kept, and how it ends."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from tenants.models import SecondFactor
from tenants.people.second_factors import set_up
from tests.factories import SecondFactorFactory, UserFactory
from tests.gateway_project.test_accounts import DOORS, code_of, log_in, person

pytestmark = pytest.mark.django_db


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
    assert "does not have the key" in answers[0].content.decode()
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
