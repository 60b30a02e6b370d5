"""Compress pages, styles and scripts, but not exports and streams, which set their own pace."""

from django.http import HttpRequest, HttpResponseBase
from django.middleware.gzip import GZipMiddleware

TYPES = ("text/html", "text/css", "text/javascript", "application/javascript", "image/svg+xml")


class PageCompression(GZipMiddleware):
    """Django's middleware, which also pads responses against guessing secrets by length, for what a browser shows."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not response.headers.get("Content-Type", "").startswith(TYPES):
            return response
        return super().process_response(request, response)
