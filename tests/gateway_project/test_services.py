import pytest
from django.db import connection


@pytest.mark.django_db
def test_the_suite_runs_on_postgresql_18():
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        assert int(cursor.fetchone()[0]) >= 180000


def test_the_suite_runs_on_a_durable_redis(redis_server):
    assert redis_server.config_get("appendfsync") == {"appendfsync": "always"}
