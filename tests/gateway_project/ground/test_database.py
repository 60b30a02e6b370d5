"""PostgreSQL goes away and comes back."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, close_old_connections, connection
from rest_framework.views import APIView

from gateway_project.api.errors import exception_handler

ALL_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def one():
    """As each request does: a connection from the pool, and back."""
    close_old_connections()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return cursor.fetchone()[0]
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_the_server_has_ended_is_nobodys_error():
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(one).result() == 1
        with connection.cursor() as cursor:
            cursor.execute(ALL_OTHERS)

        assert thread.submit(one).result() == 1


def test_without_a_database_the_control_api_says_when_to_come_back():
    answer = exception_handler(
        OperationalError("the connection is closed"), {"view": APIView(), "request": None}
    )

    assert answer is not None
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "Try again" in answer.data["detail"]
