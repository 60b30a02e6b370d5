"""What the sandbox understands of a request."""

import json

import pytest

from proxy.sandbox.answers import read_call
from proxy.sandbox.directives import Directives

HELLO = {"model": "claude", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}


def read(body=HELLO, **directives):
    return read_call(json.dumps(body).encode(), call_id="id", directives=Directives(**directives))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "no JSON object"),
        (b'{"messages": ["x"]}', "model: field required"),
        (b'{"model": "x"}', "messages: field required"),
        (b'{"model": "x", "messages": ["x"], "max_tokens": -1}', "max_tokens"),
    ],
)
def test_what_is_wrong_with_a_body_is_named(body, said):
    with pytest.raises(ValueError, match=said):
        read_call(body, call_id="id", directives=Directives())


def test_the_same_words_come_every_time():
    assert read().pieces == read().pieces


def test_deltas_are_as_many_and_as_long_as_asked_for():
    pieces = read(deltas=3, delta_words=2).pieces

    assert len(pieces) == 3
    assert all(len(piece.split()) == 2 for piece in pieces)


def test_the_output_ends_at_the_limit():
    call = read({**HELLO, "max_tokens": 10}, output_tokens=50)

    assert call.output_tokens == 10
    assert call.cut_by_limit
