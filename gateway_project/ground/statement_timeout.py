"""No statement of a page or an API request keeps PostgreSQL busy for long, whoever waits for it or has left.

The limit is a session's (`SET statement_timeout`), so it costs a round trip only where a connection comes out of the
pool with another one than is wanted: that is looked at whenever one is taken, so none brings its last user's limit.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from psycopg.errors import QueryCanceled

_PATHS = ("/admin/", "/portal/", "/api/", "/account/")
_KEPT = "tenantry_statement_seconds"  # on the driver's connection: what its session has
_wanted: ContextVar[int] = ContextVar("statement_seconds", default=0)


@contextmanager
def statements_within(seconds: int) -> Iterator[None]:
    """Every statement in this block ends after `seconds`, by an OperationalError that `was_too_slow`; 0: never."""
    before = _wanted.get()
    _wanted.set(seconds)
    _hold_to_it(connection)
    try:
        yield
    finally:
        _wanted.set(before)
    if before:  # within another block, which goes on; else the connection goes back to the pool as it is
        _hold_to_it(connection)


def was_too_slow(error: BaseException | None) -> bool:
    """Whether `error` is the database's word that a statement took too long."""
    return isinstance(error, OperationalError) and isinstance(error.__cause__, QueryCanceled)


def too_slow_text() -> str:
    """What to tell the person who asked."""
    return (
        f"This took longer than {settings.CONSOLE_STATEMENT_TIMEOUT_SECONDS} s. "
        "Ask for less: a shorter time, one tenant, or fewer filters."
    )


class StatementTimeout:
    """Middleware: the limit for console, portal and API, and a page that says so in plain words."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(_PATHS):
            return self.get_response(request)
        with statements_within(settings.CONSOLE_STATEMENT_TIMEOUT_SECONDS):
            return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not was_too_slow(error):
            return None
        context = {"title": "This took too long", "text": too_slow_text()}
        return render(request, "too_slow.html", context, status=503)


def _hold_to_it(wrapper: Any) -> None:
    """Give the open session the limit that is wanted here."""
    session, seconds = wrapper.connection, _wanted.get()
    if session is None or wrapper.needs_rollback:
        return
    if wrapper.in_atomic_block:
        session.execute(f"SET LOCAL statement_timeout = '{seconds}s'")
    elif getattr(session, _KEPT, 0) != seconds:
        session.execute(f"SET statement_timeout = '{seconds}s'" if seconds else "RESET statement_timeout")
        setattr(session, _KEPT, seconds)


def _taken_from_the_pool(*, connection: Any, **_: Any) -> None:
    _hold_to_it(connection)


connection_created.connect(_taken_from_the_pool, dispatch_uid=__name__)
