"""What an installation of the release before has in its tables, after `migrate` and back."""

import hashlib
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django_otp.oath import TOTP
from rest_framework.test import APIClient

from tenants.models import OperatorToken, SecondFactor
from tests.factories import SecondFactorFactory, StaffFactory

# Slow: each takes the migrations of three releases back and forth.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
OLD_TOKEN, SEED, OTHER_SEED = "1234567890abcdef" * 2 + "12345678", "ab" * 20, "cd" * 20
# As rest_framework.authtoken and django_otp.plugins.otp_totp make them.
OLD_TABLES = """
CREATE TABLE authtoken_token (
    key varchar(40) PRIMARY KEY, created timestamptz NOT NULL,
    user_id integer NOT NULL UNIQUE REFERENCES auth_user DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE otp_totp_totpdevice (
    id serial PRIMARY KEY, name varchar(64) NOT NULL, confirmed boolean NOT NULL, key varchar(80) NOT NULL,
    step smallint NOT NULL, t0 bigint NOT NULL, digits smallint NOT NULL, tolerance smallint NOT NULL,
    drift smallint NOT NULL, last_t bigint NOT NULL,
    throttling_failure_timestamp timestamptz, throttling_failure_count integer NOT NULL,
    created_at timestamptz, last_used_at timestamptz,
    user_id integer NOT NULL REFERENCES auth_user DEFERRABLE INITIALLY DEFERRED
);
"""
NEW_DEVICE = """
INSERT INTO otp_totp_totpdevice
    (name, confirmed, key, step, t0, digits, tolerance, drift, last_t, throttling_failure_count, user_id)
VALUES ('app', %s, %s, 30, 0, 6, 1, 0, 7, 0, %s)
"""


def migrate(name: str) -> None:
    executor = MigrationExecutor(connection)
    executor.migrate([("tenants", name)])


def run(sql: str, values: Any = ()) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def rows(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


@pytest.fixture(autouse=True)
def as_all_tests_have_it(transactional_db):
    """In the end, before the rows are put back."""
    yield
    migrate("0013_email")


@pytest.fixture
def before(as_all_tests_have_it):
    """The database of the release before, with its tables."""
    migrate("0010_operators_invite")
    run(OLD_TABLES)
    yield
    run("DROP TABLE authtoken_token, otp_totp_totpdevice")


def test_tokens_go_on_working_and_none_is_left_in_plain(before):
    user = StaffFactory()
    run("INSERT INTO authtoken_token VALUES (%s, now(), %s)", [OLD_TOKEN, user.pk])

    migrate("0013_email")

    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {OLD_TOKEN}")
    assert client.get("/api/tenants/").status_code == 200
    row = OperatorToken.objects.get()
    assert (row.prefix, row.digest) == (OLD_TOKEN[:8], hashlib.sha256(OLD_TOKEN.encode()).hexdigest())
    assert rows("SELECT * FROM authtoken_token") == []


def test_second_factors_go_on_working_and_no_seed_is_left_in_plain(client, before):
    user = User.objects.create_user("ada", password="a long enough password")
    run(NEW_DEVICE, [False, OTHER_SEED, user.pk])
    run(NEW_DEVICE, [True, SEED, user.pk])

    migrate("0013_email")

    totp = TOTP(bytes.fromhex(SEED))
    totp.time = time.time()
    login = {"username": "ada", "password": "a long enough password"}
    assert client.post("/portal/login/", login).status_code == 200
    assert client.post("/portal/login/", {**login, "code": f"{totp.token():06d}"}).status_code == 302
    left = {key for (key,) in rows("SELECT key FROM otp_totp_totpdevice")}
    assert len(left) == 2
    assert not left & {SEED, OTHER_SEED}  # processes of the release before refuse every code
    user.delete()  # and nothing of the old table stands in the way


def test_taken_back_seeds_are_as_they_were(before):
    user = StaffFactory()
    run(NEW_DEVICE, [True, SEED, user.pk])
    migrate("0013_email")
    late = StaffFactory()
    device = SecondFactorFactory(user=late)

    migrate("0010_operators_invite")

    kept = dict(rows("SELECT user_id, key FROM otp_totp_totpdevice WHERE confirmed"))
    assert kept == {user.pk: SEED, late.pk: device.seed.hex()}


def test_it_is_not_taken_back_where_that_would_drop_second_factors():
    SecondFactorFactory()

    with pytest.raises(RuntimeError, match="remove_second_factor"):
        migrate("0011_operator_tokens")

    assert SecondFactor.objects.count() == 1


def test_without_the_tables_of_before_there_is_nothing_to_do():
    migrate("0010_operators_invite")
    migrate("0013_email")

    assert OperatorToken.objects.count() == 0
