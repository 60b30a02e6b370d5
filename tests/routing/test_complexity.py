"""What makes a request complex."""

import pytest

from routing.complexity import complexity_of, why_complex
from tests.routing.test_candidates import RULES, asking


@pytest.mark.parametrize(
    ("values", "complexity"),
    [
        ({}, "simple"),
        ({"text_bytes": 4000}, "simple"),
        ({"text_bytes": 4001}, "complex"),
        ({"message_count": 11}, "complex"),
        ({"tool_count": 3}, "complex"),
        ({"system_text": "Please ANALYZE this"}, "complex"),
    ],
)
def test_sizes_and_keywords_make_a_request_complex(values, complexity):
    assert complexity_of(asking(**values), RULES) == complexity


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, ""),
        ({"text_bytes": 4001}, "4001 bytes of text, more than 4000"),
        ({"message_count": 11}, "11 messages, more than 10"),
        ({"tool_count": 3}, "3 tools, more than 2"),
        ({"system_text": "Analyze it"}, "the system prompt contains “analyze”"),
    ],
)
def test_the_rule_that_makes_a_request_complex_is_named(values, why):
    assert why_complex(asking(**values), RULES) == why
