"""The Content-Security-Policy of each surface.

No page has inline scripts. The portal runs only our own files. The console's theme (Alpine) evaluates expressions in
attributes and uses inline styles, so its policy allows these, but neither inline scripts nor code from elsewhere.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

_COMMON = "base-uri 'none'; frame-ancestors 'none'; form-action 'self'; object-src 'none'"
_PORTAL = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; "
    f"font-src 'self'; {_COMMON}"
)
_CONSOLE = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    f"img-src 'self' data:; {_COMMON}"
)


def content_security(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        policy = _PORTAL if request.path.startswith("/portal/") else _CONSOLE
        response.headers.setdefault("Content-Security-Policy", policy)
        return response

    return middleware
