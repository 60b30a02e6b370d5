"""How large a prompt can be at most, whatever forms its content has."""

import pytest

from proxy.dialects import OPENAI
from tests.proxy.dialects.wire import BODY, parse

PNG = {"type": "base64", "media_type": "image/png", "data": "iVBOR" * 50_000}


@pytest.mark.parametrize(
    ("content", "least", "most"),
    [
        ("text", 1, 200),
        ([{"type": "text", "text": "text"}], 1, 200),
        ([{"type": "image", "source": PNG}], 4_800, 5_200),
        ([{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}], 4_800, 5_200),
        ([{"type": "document", "source": {**PNG, "media_type": "application/pdf"}}], 150_000, 150_300),
        ([{"type": "document", "source": {"type": "file", "file_id": "f"}}], 460_000, 460_300),
        ([{"type": "document", "source": {"type": "text", "data": "prose " * 10_000}}], 30_000, 33_000),
        ([{"type": "document", "source": {"type": "content", "content": "prose"}}], 1, 200),
        (
            [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": PNG}]}],
            4_800,
            5_300,
        ),
        ([{"type": "of_a_later_version", "inside": [{"text": "x"}, None, 7]}], 1, 300),
        ([], 1, 200),
    ],
)
def test_the_size_of_every_form_of_content_is_bounded(content, least, most):
    ask = parse({**BODY, "messages": [{"role": "user", "content": content}]}).ask
    assert least <= ask.input_bound_tokens <= most


def test_a_file_in_openais_form_counts_by_its_size():
    part = {"type": "file", "file": {"file_data": "data:application/pdf;base64," + "A" * 1_200_000}}
    ask = parse({**BODY, "messages": [{"role": "user", "content": [part]}]}, OPENAI).ask
    assert 460_000 <= ask.input_bound_tokens <= 460_300
