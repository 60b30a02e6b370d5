"""Whatever bytes come, from callers or upstream: an answer in our own words, never a fault, never a credit."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.dialects import ANTHROPIC, OPENAI, headers, json_edit
from proxy.dialects.base import tags_of
from proxy.dialects.sse import EventReader
from proxy.errors import InvalidRequest

DIALECTS = [ANTHROPIC, OPENAI]
NUMBERS = st.one_of(
    st.integers(), st.integers(-5, 5), st.floats(allow_nan=False), st.sampled_from([10**30, -(10**30)])
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=20))
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


def objects(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects whose members have names that mean something and values that may not."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, ANYTHING))


MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system"])},
        optional={
            "content": st.text(max_size=30)
            | st.lists(objects("type", "text", "source", "image_url", "data", "file"), max_size=3)
        },
    ),
    max_size=3,
)
BODIES = st.fixed_dictionaries(
    {"max_tokens": st.integers(1, 100) | NUMBERS},
    optional={
        "model": st.text(max_size=10) | st.none(),
        "max_completion_tokens": NUMBERS,
        "n": NUMBERS,
        "messages": MESSAGES,
        "system": st.text(max_size=10) | st.lists(objects("type", "text"), max_size=2),
        "stream": st.booleans(),
        "stream_options": objects("include_usage"),
        "tools": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "type": st.sampled_from(["web_search_20250305", "function"]),
                    "max_uses": st.integers(),
                },
            ),
            max_size=3,
        ),
        "thinking": st.fixed_dictionaries({"type": st.just("enabled"), "budget_tokens": st.integers()}),
        "metadata": objects("user_id", "a", "b"),
        "user": st.text(max_size=50),
    },
)
USAGE = objects(
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cache_creation",
    "server_tool_use",
    "iterations",
    "prompt_tokens",
    "completion_tokens",
    "prompt_tokens_details",
    "completion_tokens_details",
)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.name)
@FUZZ
@given(body=st.binary(max_size=200) | BODIES.map(lambda body: json.dumps(body).encode()))
def test_a_body_is_understood_or_refused_and_never_asks_for_less_than_nothing(dialect, body):
    try:
        parsed = dialect.parse(body, {})
    except InvalidRequest:
        return

    ask = parsed.ask
    counts = (
        ask.input_bound_tokens,
        ask.min_output_tokens,
        ask.answers,
        ask.text_bytes,
        parsed.extra_hold_searches,
    )
    assert all(each >= 0 for each in counts)
    rewritten = dialect.rewrite(body, parsed, upstream_model="other", max_tokens=7)
    assert json.loads(rewritten)["model"] == "other"


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.name)
@pytest.mark.parametrize("depth", [10, 1000, 100_000])
def test_a_body_nested_without_end_is_refused(dialect, depth):
    nested = (
        b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":'
        + b"[" * depth
        + b"]" * depth
        + b"}]}"
    )

    if depth == 10:
        dialect.parse(nested, {})
    else:
        with pytest.raises(InvalidRequest):
            dialect.parse(nested, {})


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.name)
@FUZZ
@given(
    answer=st.binary(max_size=200)
    | st.fixed_dictionaries({"usage": USAGE}, optional={"model": ANYTHING}).map(
        lambda body: json.dumps(body).encode()
    )
)
def test_an_answer_tells_its_usage_or_what_is_wrong_with_it(dialect, answer):
    reading = dialect.usage_of(answer)

    assert reading.usage.total_tokens >= 0
    assert reading.usage.web_searches >= 0


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.name)
def test_an_answer_nested_without_end_is_no_fault(dialect):
    assert dialect.usage_of(b'{"usage":' + b"[" * 100_000 + b"]" * 100_000 + b"}").problem


EVENTS = st.lists(
    st.binary(max_size=40)
    | st.fixed_dictionaries(
        {"type": st.sampled_from(["message_start", "message_delta", "message_stop", "error", "ping"])},
        optional={"message": st.fixed_dictionaries({"usage": USAGE}) | ANYTHING, "usage": USAGE | ANYTHING},
    ).map(lambda event: b"data: " + json.dumps(event).encode())
    | st.fixed_dictionaries(
        {"choices": ANYTHING}, optional={"usage": USAGE | ANYTHING, "model": ANYTHING}
    ).map(lambda event: b"data: " + json.dumps(event).encode()),
    max_size=5,
)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.name)
@FUZZ
@given(events=EVENTS, cuts=st.lists(st.integers(1, 50), max_size=20))
def test_a_stream_is_passed_on_and_counted_whatever_is_in_it(dialect, events, cuts):
    parsed = dialect.parse(
        b'{"model":"m","max_tokens":5,"stream":true,"stream_options":{"include_usage":true},'
        b'"messages":[{"role":"user","content":"x"}]}',
        {},
    )
    stream = b"\n\n".join(events) + b"\n\n"
    meter, rest, out = dialect.stream_meter(parsed), stream, b""
    for size in [*cuts, len(stream)]:
        out += meter.feed(rest[:size])
        rest = rest[size:]
        assert meter.output_at_most >= meter.output_so_far >= 0

    assert out + meter.end() == stream
    assert meter.reading().usage.total_tokens >= 0


@FUZZ
@given(chunks=st.lists(st.binary(max_size=30), max_size=10))
def test_events_are_the_bytes_that_came(chunks):
    reader = EventReader()
    events = [raw for chunk in chunks for raw, _ in reader.feed(chunk)] + [raw for raw, _ in reader.end()]

    assert b"".join(events) == b"".join(chunks)


@FUZZ
@given(
    body=st.dictionaries(st.text(max_size=6) | st.sampled_from(["model", "n"]), ANYTHING, max_size=5),
    value=st.text(max_size=10) | st.integers(0, 10**6),
    spaced=st.booleans(),
)
def test_putting_one_member_changes_no_other(body, value, spaced):
    text = json.dumps(body, indent=2 if spaced else None).encode()

    assert json.loads(json_edit.put(text, "model", value)) == {**body, "model": value}


@FUZZ
@given(
    raw=st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=6),
    tags=st.text(max_size=80),
)
def test_headers_of_any_bytes_are_read(raw, tags):
    headers.read([(name.lower(), value) for name, value in raw])
    with suppress(InvalidRequest):
        assert len(tags_of(tags)) <= 10
