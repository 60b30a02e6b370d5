"""One member of a body is changed, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects import ANTHROPIC, json_edit
from proxy.errors import InvalidRequest
from tests.proxy.dialects.wire import parse


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b","max_tokens":1,"messages":[{"role":"user","content":""}]}',
        b'{"model":"a","mod\\u0065l":"b","max_tokens":1,"messages":[{"role":"user","content":""}]}',
        b'{"model":"a", "\\u006dodel" :"b","max_tokens":1,"messages":[{"role":"user","content":""}]}',
        b'{ "\\u006e":1,"n":2,"model":"a","max_tokens":1,"messages":[{"role":"user","content":""}]}',
        b'{"stream":true,"model":"a","max_tokens":1,"messages":[{"role":"user","content":""}],"str\\u0065am":0}',
    ],
)
def test_a_member_that_stands_twice_is_refused(body):
    with pytest.raises(InvalidRequest):
        parse(body)


def test_escapes_in_a_text_cost_no_second_reading(monkeypatch):
    monkeypatch.setattr(json_edit, "members", lambda body: pytest.fail("every token was read"))
    text = json.dumps({"text": "d\u00e9j\u00e0 vu, \u00e7a", "list": ["\u00e9", 'he said "\u00e9"']})
    parse(
        json.dumps({"model": "a", "max_tokens": 1, "messages": [{"role": "user", "content": text}]}).encode()
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.just("model"), inner, max_size=3)
    ),
    max_leaves=12,
)


NAMES = st.text(max_size=5) | st.sampled_from(
    ["model", "max_tokens", '"model', 'x"model', "\\model", '\\"model']
)


@given(st.dictionaries(NAMES, values), st.booleans())
def test_putting_a_member_changes_that_member_only(body, pretty):
    raw = json.dumps(body, indent=2 if pretty else None, ensure_ascii=not pretty).encode("utf-8", "replace")
    expected = {**json.loads(raw), "model": "claude"}

    assert json.loads(json_edit.put(raw, "model", "claude")) == expected


@pytest.mark.parametrize("name", ['"max_tokens', 'x\\"max_tokens'])
def test_a_name_that_only_ends_like_one_is_none(name):
    raw = json.dumps({"model": "m", name: 1, "messages": [{"role": "user", "content": "x"}]}).encode()

    assert json.loads(json_edit.put(raw, "max_tokens", 7)) == {**json.loads(raw), "max_tokens": 7}


def test_nothing_is_rewritten_where_nothing_changes():
    raw = b'{ "model":"m" ,"max_tokens": 10, "messages":[{"role":"user","content":"x"}],"new_field":1e3}'
    assert ANTHROPIC.rewrite(raw, parse(raw), upstream_model="m", max_tokens=10) is raw


def test_a_clamp_changes_max_tokens_alone():
    raw = b'{"messages":[{"role":"user","content":"say \\"max_tokens\\": 9"}],"max_tokens": 10,"model":"m"}'
    assert b'"max_tokens": 7,"model":"m"}' in ANTHROPIC.rewrite(
        raw, parse(raw), upstream_model="m", max_tokens=7
    )
