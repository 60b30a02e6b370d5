"""URLs with characters that no look-up can handle."""

from collections.abc import Callable

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponseBase


def refuse_null_characters(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware that refuses null characters, for which PostgreSQL raises an error: every search box would be a 500.

    The control API refuses them itself, in JSON.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        written = request.path + request.META.get("QUERY_STRING", "")
        if not request.path.startswith("/api/") and ("\0" in written or "%00" in written):
            raise BadRequest("No text has null characters.")
        return get_response(request)

    return middleware
