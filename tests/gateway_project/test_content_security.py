"""Each surface has a policy of its own, and none runs code that stands in a page."""

import pytest
from django.http import HttpResponse

from gateway_project.content_security import content_security


def policy(rf, path, **headers):
    response = HttpResponse(headers=headers)
    return content_security(lambda _: response)(rf.get(path)).headers["Content-Security-Policy"]


def test_the_portal_runs_its_own_files_alone(rf):
    assert "unsafe" not in policy(rf, "/portal/t/acme/")
    assert "default-src 'none'" in policy(rf, "/portal/t/acme/")


@pytest.mark.parametrize("path", ["/portal/", "/admin/", "/api/docs/", "/"])
def test_no_surface_runs_inline_script_or_is_framed(rf, path):
    found = policy(rf, path)
    [script] = [part for part in found.split("; ") if part.startswith("script-src")]

    assert "unsafe-inline" not in script
    assert "frame-ancestors 'none'" in found


def test_a_page_may_bring_a_policy_of_its_own(rf):
    assert policy(rf, "/admin/", **{"Content-Security-Policy": "default-src 'none'"}) == "default-src 'none'"
