"""Anthropic's Messages and what both formats share: what is read off requests and answers."""

import pytest

from billing.usage import Usage
from proxy.dialects import ANTHROPIC, OPENAI, sse
from proxy.errors import InvalidRequest
from tests.proxy.dialects.wire import BODY, EVENTS, encoded, openai_stream, parse, stream


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_stream_cut_at_any_byte_passes_unchanged_and_counts_the_same(newline):
    whole = stream(EVENTS, newline)
    for cut in range(len(whole) + 1):
        meter = ANTHROPIC.stream_meter(parse(BODY))

        assert meter.feed(whole[:cut]) + meter.feed(whole[cut:]) == whole
        assert meter.reading().usage == Usage(input_tokens=25, output_tokens=15), cut
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
    "system", ["be brief", [{"type": "text", "text": "be brief", "cache_control": {}}], [7], None]
)
def test_the_system_prompt_is_a_text_or_a_list(system):
    assert parse({**BODY, "system": system}).ask.system_text in ("be brief", "")
