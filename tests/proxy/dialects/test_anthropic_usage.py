"""Anthropic's usage: what is read off answers and streams."""

import pytest

from billing.usage import Usage
from proxy.dialects import ANTHROPIC
from tests.proxy.dialects.wire import BODY, START, encoded, parse, stream


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
