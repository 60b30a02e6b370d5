"""Server-sent events cut out of a byte stream."""

import json

import pytest

from billing.usage import Usage
from proxy.dialects import ANTHROPIC, OPENAI
from tests.proxy.dialects.wire import BODY, EVENTS, encoded, openai_stream, parse, stream


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
