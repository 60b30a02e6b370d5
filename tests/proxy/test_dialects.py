"""Wire formats: what is read off requests and answers, and that nothing else is changed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.refusals import BudgetExceeded
from billing.usage import Usage
from proxy import bodies
from proxy.dialects.anthropic import Anthropic
from proxy.dialects.openai import OpenAI
from proxy.errors import InvalidRequest

ANTHROPIC, OPENAI = Anthropic(), OpenAI()
BODY = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
START = {
    "type": "message_start",
    "message": {"model": "m", "usage": {"input_tokens": 25, "output_tokens": 1}},
}
EVENTS = [
    START,
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "naïve 🎈"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}},
    {"type": "message_stop"},
]


def encoded(value):
    return json.dumps(value).encode()


def stream(events, newline="\n"):
    return "".join(
        f"event: {event['type']}{newline}data: {json.dumps(event, ensure_ascii=False)}{newline}{newline}"
        for event in events
    ).encode()


def parse(body, dialect=ANTHROPIC, headers=None):
    return dialect.parse(body if isinstance(body, bytes) else encoded(body), headers or {})


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_stream_cut_at_any_byte_passes_unchanged_and_counts_the_same(newline):
    whole = stream(EVENTS, newline)
    for cut in range(len(whole) + 1):
        meter = ANTHROPIC.stream_meter(parse(BODY))

        assert meter.feed(whole[:cut]) + meter.feed(whole[cut:]) == whole
        assert meter.reading().usage == Usage(input_tokens=25, output_tokens=15), cut
        assert meter.finished


def test_usage_may_repeat_and_the_last_value_of_each_field_counts():
    meter = ANTHROPIC.stream_meter(parse(BODY))
    refusal = {"type": "message_delta", "usage": {"output_tokens": 0, "input_tokens": None}}
    meter.feed(stream([START, {"type": "message_delta", "usage": {"output_tokens": 9}}, refusal]))

    assert meter.reading().usage == Usage(input_tokens=25, output_tokens=0)
    assert not meter.finished


def test_cache_writes_beyond_the_split_count_as_five_minutes():
    usage = {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 50},
        "server_tool_use": {"web_search_requests": 4},
    }
    assert ANTHROPIC.usage_of(encoded({"usage": usage})).usage == Usage(1, 2, 3, 50, 50, 4)


def test_iterations_are_summed():
    usage = {
        "input_tokens": 1,
        "output_tokens": 1,
        "iterations": [{"input_tokens": 5, "output_tokens": 6}, {"input_tokens": 7, "output_tokens": 8}],
    }
    assert ANTHROPIC.usage_of(encoded({"usage": usage})).usage == Usage(12, 14)


@pytest.mark.parametrize("bad", [-1, 10**12, 1.5, "9", True])
def test_what_is_no_token_count_is_a_problem_not_a_number(bad):
    reading = ANTHROPIC.usage_of(encoded({"usage": {"input_tokens": bad, "output_tokens": 1}}))
    assert reading.problem
    assert reading.usage == Usage()


def test_openais_cached_tokens_are_taken_out_of_the_prompt():
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 60}}
    assert OPENAI.usage_of(encoded({"usage": usage})).usage == Usage(40, 7, 60)


def openai_stream():
    chunks = [
        {"model": "m", "choices": [{"delta": {"content": "hi"}}]},
        {"model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
    ]
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"]


@pytest.mark.parametrize("wants", [True, False])
def test_the_usage_chunk_reaches_only_who_asked_for_it(wants):
    options = {"stream_options": {"include_usage": True}} if wants else {}
    meter = OPENAI.stream_meter(parse({**BODY, "stream": True, **options}, OPENAI))
    parts = openai_stream()

    passed = b"".join(meter.feed(bytes([byte])) for byte in b"".join(parts))

    assert passed == (b"".join(parts) if wants else parts[0] + parts[2])
    assert meter.reading().usage == Usage(3, 4)
    assert meter.finished


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"max_tokens": "ten"}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"model": 7}, "model"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_a_wrong_field_is_named(change, field):
    with pytest.raises(InvalidRequest) as refusal:
        parse({**BODY, **change})
    assert refusal.value.details["param"] == field


def test_a_missing_field_is_named():
    with pytest.raises(InvalidRequest) as refusal:
        parse({"messages": BODY["messages"]})
    assert refusal.value.details["param"] == "max_tokens"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'"x"', b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(InvalidRequest):
        parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b","max_tokens":1,"messages":[{"role":"user","content":""}]}',
        b'{"model":"a","mod\\u0065l":"b","max_tokens":1,"messages":[{"role":"user","content":""}]}',
    ],
)
def test_a_member_that_stands_twice_is_refused(body):
    with pytest.raises(InvalidRequest):
        parse(body)


def test_zero_max_tokens_is_legal():
    assert parse({**BODY, "max_tokens": 0}).ask.max_tokens == 0


def test_thinking_sets_the_least_a_clamp_may_leave():
    body = {**BODY, "max_tokens": 5000, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    assert parse(body).ask.min_output_tokens == 2001


@pytest.mark.parametrize(
    ("user", "who"),
    [
        ("ann", ("ann", "")),
        ("user_abc_account_0-1_session_9-9", ("0-1", "9-9")),
        (json.dumps({"device_id": "d", "account_uuid": "a", "session_id": "s"}), ("a", "s")),
        ("x" * 999, ("x" * 200, "")),
    ],
)
def test_the_person_is_told_from_the_session(user, who):
    ask = parse({**BODY, "metadata": {"user_id": user}}).ask
    assert (ask.end_user, ask.session) == who


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.just("model"), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5) | st.sampled_from(["model", "max_tokens"]), values), st.booleans())
def test_putting_a_member_changes_that_member_only(body, pretty):
    raw = json.dumps(body, indent=2 if pretty else None, ensure_ascii=not pretty).encode("utf-8", "replace")
    expected = {**json.loads(raw), "model": "claude"}

    assert json.loads(bodies.put(raw, "model", "claude")) == expected


def test_nothing_is_rewritten_where_nothing_changes():
    raw = b'{ "model":"m" ,"max_tokens": 10, "messages":[{"role":"user","content":"x"}],"new_field":1e3}'
    assert ANTHROPIC.rewrite(raw, parse(raw), upstream_model="m", max_tokens=10) is raw


def test_a_clamp_changes_max_tokens_alone():
    raw = b'{"messages":[{"role":"user","content":"say \\"max_tokens\\": 9"}],"max_tokens": 10,"model":"m"}'
    assert b'"max_tokens": 7,"model":"m"}' in ANTHROPIC.rewrite(
        raw, parse(raw), upstream_model="m", max_tokens=7
    )


def test_errors_come_in_the_callers_dialect():
    from decimal import Decimal

    error = BudgetExceeded(scope="tenant", spend_usd=Decimal(5), budget_usd=Decimal(5), resets_at=None)

    status, headers, body = ANTHROPIC.render_error(error, "id-1")
    anthropic = json.loads(body)
    openai = json.loads(OPENAI.render_error(error, "id-1")[2])

    assert status == 402
    assert ("x-should-retry", "false") in headers
    assert (anthropic["type"], anthropic["error"]["type"]) == ("error", "billing_error")
    assert anthropic["request_id"] == "id-1"
    assert anthropic["error"]["code"] == openai["error"]["code"] == "budget_exceeded"
    assert openai["error"]["scope"] == "tenant"


@pytest.mark.parametrize(
    "header", ["noequals", "a=b c", "=x", "a=" + "x" * 65, ",".join(f"t{i}=1" for i in range(11))]
)
def test_bad_tags_are_refused(header):
    with pytest.raises(InvalidRequest):
        parse(BODY, headers={"x-tenantry-tags": header})


def test_tags_are_read():
    assert parse(BODY, headers={"x-tenantry-tags": "feature=summarize, team=a"}).tags == {
        "feature": "summarize",
        "team": "a",
    }
