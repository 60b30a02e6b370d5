"""How a request says what the sandbox is to do."""

import msgspec
import pytest

from proxy.sandbox.directives import Directives, directives_of


def test_without_a_directive_everything_is_left_to_the_sandbox():
    assert directives_of(b'{"messages": []}', "") == Directives()


def test_they_stand_in_the_text():
    found = directives_of(b'"hi [[sandbox status=529 latency_ms=20]] there"', "")

    assert (found.status, found.latency_ms) == (529, 20)


def test_the_header_goes_before_the_text():
    assert directives_of(b"[[sandbox status=529]]", "status=401").status == 401


def test_a_value_of_the_wrong_kind_is_refused():
    with pytest.raises(msgspec.ValidationError):
        directives_of(b"", "status=many")
