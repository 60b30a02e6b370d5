"""Operators' tokens: what a copy of the database is worth, and how one ends."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from tenants.models import OperatorToken
from tenants.people.operators import PREFIX, find_token, rotate_token
from tests.factories import OperatorTokenFactory, StaffFactory, UserFactory

pytestmark = pytest.mark.django_db


def asks(token):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    return client.get("/api/tenants/").status_code


def test_a_token_opens_the_control_api_and_nothing_in_the_database_does():
    out = StringIO()
    call_command("create_operator", "ada", stdout=out)
    token = json.loads(out.getvalue())["token"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM tenants_operatortoken")
        row = cursor.fetchone()

    assert token.startswith(PREFIX)
    assert asks(token) == 200
    assert [asks(column) for column in row if isinstance(column, str)] == [401, 401]
    assert not any(token in str(column) for column in row)


def test_the_token_of_an_inactive_account_is_refused():
    user = StaffFactory()
    token = rotate_token(user)
    user.is_active = False
    user.save()

    assert asks(token) == 401


def test_who_lost_their_rights_is_known_and_refused():
    user = StaffFactory()
    token = rotate_token(user)
    user.is_superuser = False
    user.save()

    assert asks(token) == 403


@pytest.mark.parametrize("shown", ["", "x", "tnop_", "ä", "a b", "\x00"])
def test_what_is_no_token_is_refused(shown):
    assert asks(shown) == 401


def test_its_last_use_is_noted_but_not_with_every_request():
    token = rotate_token(StaffFactory())
    asks(token)
    first = OperatorToken.objects.get().last_used_at
    asks(token)
    assert OperatorToken.objects.get().last_used_at == first

    OperatorToken.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    asks(token)
    assert OperatorToken.objects.filter(last_used_at__gt=first).exists()


def test_rotating_one_operators_token_leaves_the_others(client):
    kept, ended = rotate_token(StaffFactory()), rotate_token(user := StaffFactory())

    rotate_token(user)

    assert asks(kept) == 200
    assert asks(ended) == 401


def test_staff_see_tokens_by_their_start_and_revoke_them(client):
    token = rotate_token(StaffFactory())
    row = OperatorToken.objects.get()
    client.force_login(StaffFactory())
    page = client.get(reverse("admin:tenants_operatortoken_changelist")).content.decode()

    assert row.prefix in page
    assert token not in page
    assert row.digest not in page
    client.post(reverse("admin:tenants_operatortoken_delete", args=[row.pk]), {"post": "yes"})
    assert find_token(token) is None


@pytest.mark.parametrize("name", ["changelist", "delete"])
def test_who_has_no_right_to_tokens_sees_none(client, name):
    row = OperatorTokenFactory()
    client.force_login(UserFactory(is_staff=True))
    arguments = [] if name == "changelist" else [row.pk]

    assert client.get(reverse(f"admin:tenants_operatortoken_{name}", args=arguments)).status_code == 403
