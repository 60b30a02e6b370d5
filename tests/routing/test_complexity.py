"""What makes a request complex."""

import pytest

from routing.complexity import complexity_of
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
