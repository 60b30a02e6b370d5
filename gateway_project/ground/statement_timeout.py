"""A time limit on every SQL statement of a page or an API request, whether or not anyone still waits for it.

The limit is set on the session (`SET statement_timeout`). It is checked whenever a connection leaves the pool, so that
none brings the limit of its last user, and costs a round trip only if it has to change.
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
_KEPT = "tenantry_statement_seconds"  # attribute of the driver's connection: its session's limit
_wanted: ContextVar[int] = ContextVar("statement_seconds", default=0)


@contextmanager
def statements_within(seconds: int) -> Iterator[None]:
    """Cancel every statement in this block after `seconds` (0: never), with an OperationalError for which
    `was_too_slow` is true.
    """
    before = _wanted.get()
    _wanted.set(seconds)
    _apply_limit(connection)
    try:
        yield
    finally:
        _wanted.set(before)
    if before:  # an outer block goes on; else the connection may return to the pool with this limit
        _apply_limit(connection)


def was_too_slow(error: BaseException | None) -> bool:
    """Whether `error` means that a statement took too long."""
    return isinstance(error, OperationalError) and isinstance(error.__cause__, QueryCanceled)


def too_slow_text() -> str:
    """The message for the person who asked."""
    return (
        f"This took longer than {settings.CONSOLE_STATEMENT_TIMEOUT_SECONDS} s. "
        "Ask for less: a shorter time, one tenant, or fewer filters."
    )


class StatementTimeout:
    """Middleware: sets the limit for console, portal, accounts and API, and shows a page when it is reached."""

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


def _apply_limit(wrapper: Any) -> None:
    """Give the open session, if there is one, the limit of the current block."""
    session, seconds = wrapper.connection, _wanted.get()
    if session is None or wrapper.needs_rollback:
        return
    if wrapper.in_atomic_block:
        session.execute(f"SET LOCAL statement_timeout = '{seconds}s'")
    elif getattr(session, _KEPT, 0) != seconds:
        session.execute(f"SET statement_timeout = '{seconds}s'" if seconds else "RESET statement_timeout")
        setattr(session, _KEPT, seconds)


def _taken_from_the_pool(*, connection: Any, **_: Any) -> None:
    _apply_limit(connection)


connection_created.connect(_taken_from_the_pool, dispatch_uid=__name__)
