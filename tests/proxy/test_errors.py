"""Errors of the wire."""

import pytest

from proxy.errors import InvalidRequest, MethodNotAllowed, NotFound, UnsupportedMedia


@pytest.mark.parametrize(("field", "details"), [("max_tokens", {"param": "max_tokens"}), ("", {})])
def test_the_field_is_named_where_there_is_one(field, details):
    assert InvalidRequest("wrong", field=field).details == details


def test_each_has_its_status():
    found = [kind("x").status for kind in (InvalidRequest, NotFound, MethodNotAllowed, UnsupportedMedia)]

    assert found == [400, 404, 405, 415]
