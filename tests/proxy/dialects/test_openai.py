"""OpenAI's Chat Completions: what is read off requests and answers, and that nothing else is changed."""

import json

import pytest

from billing.usage import Usage
from proxy.dialects import OPENAI
from proxy.errors import InvalidRequest
from tests.proxy.dialects.wire import BODY, encoded, openai_stream, parse


def test_openais_cached_tokens_are_taken_out_of_the_prompt():
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 60}}
    assert OPENAI.usage_of(encoded({"usage": usage})).usage == Usage(40, 7, 60)


@pytest.mark.parametrize(
    ("usage", "output"),
    [
        ({"completion_tokens": 7, "total_tokens": 107}, 7),
        (
            {
                "completion_tokens": 7,
                "total_tokens": 1107,
                "completion_tokens_details": {"reasoning_tokens": 1000},
            },
            1007,
        ),
        ({"completion_tokens": 7, "total_tokens": None}, 7),
    ],
)
def test_reasoning_that_only_the_total_knows_is_output(usage, output):
    reading = OPENAI.usage_of(encoded({"usage": {"prompt_tokens": 100, **usage}}))
    assert reading.usage == Usage(100, output)


@pytest.mark.parametrize("wants", [True, False])
def test_the_usage_chunk_reaches_only_who_asked_for_it(wants):
    options = {"stream_options": {"include_usage": True}} if wants else {}
    meter = OPENAI.stream_meter(parse({**BODY, "stream": True, **options}, OPENAI))
    parts = openai_stream()

    passed = b"".join(meter.feed(bytes([byte])) for byte in b"".join(parts))

    assert passed == (b"".join(parts) if wants else parts[0] + parts[2])
    assert meter.reading().usage == Usage(3, 4)
    assert meter.finished


def test_what_else_stream_options_say_reaches_the_upstream():
    raw = b'{"model":"m","stream":true,"stream_options": {"include_obfuscation":false},"messages":[{"role":"user"}]}'
    parsed = parse(raw, OPENAI)

    sent = json.loads(OPENAI.rewrite(raw, parsed, upstream_model="m", max_tokens=5))

    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": None}])
def test_usage_is_asked_for_whatever_the_caller_says_of_it(options):
    raw = encoded({**BODY, "stream": True, "stream_options": options})
    parsed = parse(raw, OPENAI)

    assert not parsed.wants_usage
    sent = json.loads(OPENAI.rewrite(raw, parsed, upstream_model="m", max_tokens=10))
    assert sent["stream_options"]["include_usage"] is True


@pytest.mark.parametrize(
    ("given", "model", "expected"),
    [
        ({"max_tokens": 9}, "gpt-4o", {"max_tokens": 5}),
        ({"max_completion_tokens": 9}, "gpt-4o", {"max_completion_tokens": 5}),
        ({}, "gpt-4o", {"max_tokens": 5}),
        ({"max_tokens": None}, "grok-4", {"max_tokens": 5}),
        ({}, "o3-mini", {"max_completion_tokens": 5}),
        ({}, "gpt-5.1", {"max_completion_tokens": 5}),
    ],
)
def test_the_limit_of_tokens_goes_where_the_caller_has_it_or_the_model_wants_it(given, model, expected):
    raw = encoded({"model": model, "messages": BODY["messages"], **given})

    sent = json.loads(OPENAI.rewrite(raw, parse(raw, OPENAI), upstream_model=model, max_tokens=5))

    assert {name: value for name, value in sent.items() if "max" in name} == expected


def test_two_limits_of_tokens_are_refused():
    with pytest.raises(InvalidRequest, match="max_completion_tokens"):
        parse({**BODY, "max_completion_tokens": 3}, OPENAI)


@pytest.mark.parametrize(
    "metadata", [{"a": "b c"}, {"": "x"}, {"a": "x" * 65}, {f"t{i}": "1" for i in range(11)}]
)
def test_openais_metadata_are_tags_and_bad_ones_are_named_so(metadata):
    with pytest.raises(InvalidRequest, match=r"^metadata: ") as refusal:
        parse({**BODY, "metadata": metadata}, OPENAI)
    assert refusal.value.details["param"] == "metadata"


def test_a_tag_in_the_header_goes_before_one_in_the_metadata():
    parsed = parse({**BODY, "metadata": {"team": "a", "x": "1"}}, OPENAI, {"x-tenantry-tags": "team=b"})
    assert parsed.tags == {"team": "b", "x": "1"}


@pytest.mark.parametrize(
    "message",
    [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
        },
        {"role": "developer", "content": [{"type": "text", "text": "x"}], "name": "n"},
        {"role": "assistant", "refusal": "no"},
    ],
)
def test_openais_forms_of_messages_are_understood(message):
    assert parse({**BODY, "messages": [message]}, OPENAI).ask.message_count == 1
