"""The bound against real vocabularies: never below what a text counts, and not much above."""

import base64

import bpe_openai
import msgspec
import pytest

from proxy.dialects import OPENAI, prompt_bound
from proxy.dialects.prompt_bound import input_bound, searching_bound, text_bound
from routing.choice import CatalogueModel
from tests.proxy.dialects.wire import BODY, parse
from tests.proxy.samples import CLAUDE_TOKENS, REAL

GPT_4O = CatalogueModel(1, "gpt-4o", "gpt-4o", "gpt", 128_000, 16_384, None, None, True)


@pytest.mark.parametrize("vocabulary", ["o200k_base", "cl100k_base"])
@pytest.mark.parametrize("name", REAL)
def test_no_text_counts_more_than_it_is_held_for_on_gpt(name, vocabulary):
    tokens = len(bpe_openai.get_encoding(vocabulary).encode_ordinary(REAL[name]))

    assert tokens <= text_bound(REAL[name].encode(), "gpt")


@pytest.mark.parametrize("name", REAL)
def test_no_text_counts_more_than_it_is_held_for_on_claude(name):
    assert CLAUDE_TOKENS[name] <= text_bound(REAL[name].encode(), "claude")


@pytest.mark.parametrize("name", ["English prose", "Python", "SQL", "JSON", "German"])
def test_claudes_newer_vocabulary_which_counts_a_third_more_is_covered(name):
    assert CLAUDE_TOKENS[name] * 1.35 <= text_bound(REAL[name].encode(), "claude") - prompt_bound.ODD_TOKENS


@pytest.mark.parametrize("name", ["English prose", "Python", "JSON", "Chinese", "Japanese", "emoji"])
def test_common_texts_are_held_for_at_less_than_three_times_what_they_count(name):
    o200k = bpe_openai.get_encoding("o200k_base")
    text = REAL[name] * 4

    assert text_bound(text.encode(), "gpt") < 3 * len(o200k.encode_ordinary(text))


def test_a_text_is_never_held_for_at_more_than_its_bytes():
    for text in (b"", b"?", b"!?" * 40_000, "漢".encode() * 3, b"\x00" * 700):
        assert text_bound(text) <= len(text)


def test_a_family_nobody_measured_is_held_for_at_the_most():
    text = REAL["Korean"].encode()

    assert text_bound(text, "grok") == text_bound(text, "claude") > text_bound(text, "gpt")


def test_the_family_of_the_model_decides():
    ask = parse({**BODY, "messages": [{"role": "user", "content": REAL["Chinese"]}]}, OPENAI).ask
    claude = msgspec.structs.replace(GPT_4O, name="sonnet", upstream_name="sonnet", family="claude")

    assert input_bound(ask, GPT_4O) < input_bound(ask, claude) == ask.input_bound_tokens


def test_nothing_counts_more_than_the_models_window():
    ask = parse({**BODY, "messages": [{"role": "user", "content": "word " * 200_000}]}).ask

    assert input_bound(ask, GPT_4O) == 128_000
    assert input_bound(ask, GPT_4O, prompts=2) == 256_000


def test_the_model_that_counts_pictures_dearly_is_held_for_dearly():
    picture = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    ask = parse({**BODY, "messages": [{"role": "user", "content": [picture]}]}, OPENAI).ask
    mini = msgspec.structs.replace(GPT_4O, upstream_name="openai/gpt-4o-mini-2024-07-18")

    assert input_bound(ask, GPT_4O) - ask.text_bytes < 5_000
    assert input_bound(ask, mini) >= 48_169


def test_a_pdf_counts_by_its_pages_where_they_can_be_counted():
    pages = b"%PDF-1.4\n" + b"<< /Type /Page /Parent 2 0 R >>\n" * 7 + b"<< /Type /Pages /Count 7 >>"
    source = {
        "type": "base64",
        "media_type": "application/pdf",
        "data": base64.b64encode(pages * 50).decode(),
    }
    content = [{"type": "document", "source": source}]

    ask = parse({**BODY, "messages": [{"role": "user", "content": content}]}).ask

    assert ask.media_tokens == 350 * prompt_bound.PAGE_TOKENS


def test_what_a_tool_was_called_with_is_text_whatever_it_looks_like():
    """Else a caller could hide a prompt from its budget."""
    words = "words that are billed " * 2_000
    for hidden in (
        {"type": "base64", "data": words},
        {"data": words, "format": "wav"},
        {"url": f"data:{words}"},
    ):
        content = [{"type": "tool_use", "id": "t", "name": "n", "input": hidden}]
        ask = parse({**BODY, "messages": [{"role": "assistant", "content": content}]}).ask

        assert ask.text_bytes > len(words)


def test_tools_of_the_upstreams_own_bring_instructions_of_their_own():
    plain = parse({**BODY, "tools": [{"name": "n", "input_schema": {}}]}).ask
    own = parse({**BODY, "tools": [{"name": "n", "type": "bash_20250124"}]}).ask

    assert own.input_bound_tokens - plain.input_bound_tokens > prompt_bound.BUILT_IN_TOOL_TOKENS - 100


def test_each_search_reads_everything_once_more():
    assert searching_bound(1_000, searches=0, window=200_000) == 1_000
    assert searching_bound(1_000, searches=2, window=200_000) == 1_000 + 11_000 + 21_000
    assert searching_bound(150_000, searches=9, window=200_000) < 10 * 200_000
