"""What takes PostgreSQL too long is stopped, said in plain words, and holds nobody else up."""

import threading
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import Request, urlopen

import pytest
import uvicorn
from django.contrib import admin
from django.core.asgi import get_asgi_application
from django.db import OperationalError, connection, transaction
from django.http import HttpResponse
from django.urls import path
from rest_framework.decorators import api_view, permission_classes
from rest_framework.response import Response

from gateway_project.ground import database
from gateway_project.ground.statement_timeout import statements_within, was_too_slow
from gateway_project.ground.streamed import streamed
from gateway_project.urls import urlpatterns as every_page
from tests.factories import UsageRecordFactory

pytestmark = pytest.mark.django_db(transaction=True)
LIMIT = 1


def ask(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def slow(request):
    ask("SELECT pg_sleep(60)")
    return HttpResponse("it took its time")


def slow_in_a_transaction(request):
    with transaction.atomic():
        return slow(request)


@api_view()
@permission_classes([])
def slow_api(request):
    return Response(ask("SELECT pg_sleep(60)"))


def limit(request):
    return HttpResponse(ask("SHOW statement_timeout"))


def file(request):
    return streamed(
        request, lambda: iter([ask("SHOW statement_timeout").encode()]), content_type="text/csv", filename="x"
    )


urlpatterns: list[Any] = [
    path("admin/slow", slow),
    path("portal/slow", slow),
    path("admin/slow-in-a-transaction", slow_in_a_transaction),
    path("api/slow", slow_api),
    path("admin/limit", limit),
    path("elsewhere/limit", limit),
    path("admin/file", file),
    *every_page,
]


@pytest.fixture
def site(settings):
    """Our URLs and these, on a real server: `site("/admin/slow")` answers status and text."""
    settings.ROOT_URLCONF = __name__
    settings.CONSOLE_STATEMENT_TIMEOUT_SECONDS = LIMIT
    settings.EXPORT_STATEMENT_TIMEOUT_SECONDS = 7
    config = uvicorn.Config(get_asgi_application(), port=0, log_level="critical", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        pass
    base = f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"

    def get(address, **headers):
        try:
            with urlopen(Request(base + address, headers=headers), timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    yield get
    running.should_exit = True
    thread.join()


def still_running():
    return ask("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(60)'")


@pytest.mark.parametrize("address", ["/admin/slow", "/portal/slow", "/admin/slow-in-a-transaction"])
def test_a_page_that_takes_too_long_says_so_and_its_statement_ends(site, address):
    status, text = site(address)

    assert status == 503
    assert "This took longer than 1 s" in text
    assert still_running() == 0


def test_an_api_request_that_takes_too_long_says_so(site):
    status, text = site("/api/slow")

    assert status == 503
    assert "This took longer than 1 s" in text


def test_the_next_use_of_the_pooled_connection_has_the_limit_that_is_its_own(site):
    for _ in range(3):  # one connection is enough for the server's one thread, and is taken again each time
        assert site("/admin/limit") == (200, "1s")
        assert site("/elsewhere/limit") == (200, "0")
        assert site("/admin/file") == (200, "7s")
        assert site("/admin/slow")[0] == 503


def test_threads_of_the_process_that_serve_no_page_have_no_limit(site):
    def as_a_task_does():
        try:
            return ask("SHOW statement_timeout")
        finally:
            connection.close()

    assert site("/admin/limit") == (200, "1s")
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: as_a_task_does(), range(8))) == {"0"}


def test_no_limit_is_set_where_none_is_wanted(site, settings):
    settings.CONSOLE_STATEMENT_TIMEOUT_SECONDS = 0

    assert site("/admin/limit") == (200, "0")


def test_a_limit_inside_of_a_transaction_ends_with_it():
    with transaction.atomic(), statements_within(2):
        assert ask("SHOW statement_timeout") == "2s"

    assert ask("SHOW statement_timeout") == "0"


def test_a_longer_limit_ends_with_its_block():
    with statements_within(2):
        ask("SELECT 1")
        with statements_within(5):
            assert ask("SHOW statement_timeout") == "5s"
        assert ask("SHOW statement_timeout") == "2s"


def test_what_fails_in_a_transaction_is_told_as_it_was():
    with pytest.raises(OperationalError), transaction.atomic(), statements_within(5), statements_within(1):
        ask("SELECT pg_sleep(60)")


def test_only_the_databases_word_is_a_time_out():
    with pytest.raises(OperationalError) as slow_one, statements_within(1):
        ask("SELECT pg_sleep(60)")

    assert was_too_slow(slow_one.value)
    assert not was_too_slow(OperationalError("the connection is closed"))
    assert not was_too_slow(None)


async def test_a_tenants_report_that_takes_too_long_is_not_asked_again(settings):
    settings.CONSOLE_STATEMENT_TIMEOUT_SECONDS = LIMIT

    with pytest.raises(database.ReportsUnavailable) as refusal:
        await database.Reader(name="test", threads=1).read(lambda: ask("SELECT pg_sleep(60)"))

    assert "longer than 1 s" in refusal.value.message
    assert refusal.value.headers == {"x-should-retry": "false"}


def test_no_list_counts_its_filters_choices(admin_client):
    UsageRecordFactory()

    page = admin_client.get("/admin/billing/usagerecord/?_facets=True")

    assert not page.context["cl"].add_facets
    assert "Show counts" not in page.content.decode()
    counting = [
        model._meta.label
        for model, page in admin.site._registry.items()
        if page.show_facets != admin.ShowFacets.NEVER
    ]
    assert counting == []
