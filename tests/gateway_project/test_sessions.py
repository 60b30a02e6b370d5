"""Sessions of which a copy of the database opens none."""

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


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
