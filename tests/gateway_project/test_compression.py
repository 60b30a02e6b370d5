"""Pages are compressed; exports and streams set their own pace."""

import pytest
from django.http import HttpResponse

from gateway_project.compression import PageCompression


def sent(rf, kind):
    asked = rf.get("/", headers={"accept-encoding": "gzip"})
    return PageCompression(lambda _: HttpResponse(b"x" * 2000, content_type=kind))(asked)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "text/css", "image/svg+xml"])
def test_what_a_browser_shows_is_compressed(rf, kind):
    assert sent(rf, kind)["Content-Encoding"] == "gzip"


@pytest.mark.parametrize("kind", ["text/csv", "application/json", "application/pdf", "image/png"])
def test_everything_else_goes_as_it_is(rf, kind):
    assert "Content-Encoding" not in sent(rf, kind)
