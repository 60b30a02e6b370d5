"""Anthropic's Messages and what both formats share: what is read off requests and answers."""

import json

import pytest

from billing.meter.errors import BudgetExceeded
from billing.usage import Usage
from proxy.dialects import ANTHROPIC, OPENAI, sse
from proxy.errors import InvalidRequest
from tests.proxy.dialects.wire import BODY, EVENTS, START, encoded, openai_stream, parse, stream


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_stream_cut_at_any_byte_passes_unchanged_and_counts_the_same(newline):
    whole = stream(EVENTS, newline)
    for cut in range(len(whole) + 1):
        meter = ANTHROPIC.stream_meter(parse(BODY))

        assert meter.feed(whole[:cut]) + meter.feed(whole[cut:]) == whole
        assert meter.reading().usage == Usage(input_tokens=25, output_tokens=15), cut
        assert meter.finished


@pytest.mark.parametrize(
    "padded",
    [
        b"data:" + b" " * 3 + encoded(EVENTS[0]),  # padding before the JSON
        b"data: " + encoded(EVENTS[0]) + b"   ",
        b":a comment\nid: 7\nretry: 10\nevent: message_start\ndata:" + encoded(EVENTS[0]),
        b"data: "
        + json.dumps(EVENTS[0], indent=1).replace("\n", "\ndata: ").encode(),  # one event, many lines
    ],
)
def test_the_freedom_of_event_streams_is_understood(padded):
    meter = ANTHROPIC.stream_meter(parse(BODY))

    assert meter.feed(b": hello\n\n" + padded + b"\n\n" + stream(EVENTS[1:])).endswith(stream(EVENTS[1:]))
    assert meter.reading().usage == Usage(input_tokens=25, output_tokens=15)


@pytest.mark.parametrize("dialect", [ANTHROPIC, OPENAI])
def test_the_last_event_counts_without_its_blank_line_and_passes(dialect):
    whole = (stream(EVENTS) if dialect is ANTHROPIC else b"".join(openai_stream(usage=False))).rstrip(b"\n")
    meter = dialect.stream_meter(parse(BODY, dialect))

    passed = b"".join(meter.feed(bytes([byte])) for byte in whole)
    assert not meter.finished
    assert passed + meter.end() == whole
    assert meter.finished


@pytest.mark.parametrize("dialect", [ANTHROPIC, OPENAI])
def test_an_event_too_large_to_read_passes_all_the_same_and_the_usage_is_in_doubt(dialect, monkeypatch):
    monkeypatch.setattr(sse, "LARGEST_EVENT", 200)
    picture = b"data: " + encoded({"type": "picture", "choices": [{}], "data": "x" * 1000}) + b"\n\n"
    parts = [stream(EVENTS[:1]), picture, stream(EVENTS[1:])] if dialect is ANTHROPIC else [
        *openai_stream()[:1], picture, *openai_stream()[1:]
    ]  # fmt: skip
    meter = dialect.stream_meter(parse(BODY, dialect))

    passed = b"".join(meter.feed(bytes([byte])) for part in parts for byte in part) + meter.end()

    usage_chunk = b"" if dialect is ANTHROPIC else openai_stream()[1]
    assert passed == b"".join(parts).replace(usage_chunk, b"" if usage_chunk else usage_chunk)
    assert meter.finished
    assert meter.reading().problem == "an event was too large to read"


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
    "header", ["noequals", "a=b c", "=x", "a=" + "x" * 65, ",".join(f"t{i}=1" for i in range(11)), "a=1,a=2"]
)
def test_bad_tags_are_refused(header):
    with pytest.raises(InvalidRequest, match=r"^x-tenantry-tags: "):
        parse(BODY, headers={"x-tenantry-tags": header})


@pytest.mark.parametrize(
    "system", ["be brief", [{"type": "text", "text": "be brief", "cache_control": {}}], [7], None]
)
def test_the_system_prompt_is_a_text_or_a_list(system):
    assert parse({**BODY, "system": system}).ask.system_text in ("be brief", "")


def test_tags_are_read():
    assert parse(BODY, headers={"x-tenantry-tags": "feature=summarize, team=a"}).tags == {
        "feature": "summarize",
        "team": "a",
    }
