"""The most input tokens that a prompt can count.

One bound is certain: in a byte-level vocabulary no text counts more tokens than it has bytes, so none is held for more.
Below that, each kind of character has a weight, by family of models: the most that texts of that kind were measured to
count (docs/reliability.md has the table, made by `python -m tests.proxy.dialects.measure_prompt_bounds`). Some 500
tokens are added for odd texts. Prose in any language, code, JSON, identifiers, numbers, emoji and base64 stay below
this bound. Long text made to exceed it (random lower-case letters or Chinese characters) can do so: such a call is
charged what it cost, and shows as an overrun.

Images, documents and recordings are counted by kind and not by their encoded bytes, at the most that their providers
document. Nothing counts more than the model's window.
"""

import binascii
import re
from collections.abc import Sequence
from operator import mul
from typing import Any

import msgspec

from routing.choice import Ask, CatalogueModel

# Thousandths of a token for each byte (ASCII) or character (others): lower-case letters; white space; the rest of
# ASCII; then by the first byte of UTF-8: 2-byte letters (Latin with accents, Greek, Cyrillic, Hebrew, Arabic),
# E0 (Indic, Thai), E1 (Georgian, Ethiopic, Khmer), E2 (signs), kana and Chinese, Hangul and full width, emoji.
_WEIGHTS = {
    # Measured on o200k and cl100k, the vocabularies of all models from gpt-3.5 on.
    "gpt": (450, 150, 950, 1200, 2100, 2900, 2200, 1500, 1600, 3000),
    # Claude's published vocabulary, and a third more for what newer models are documented to count.
    "claude": (550, 250, 1000, 2000, 3000, 3000, 2600, 2000, 2500, 4000),
}
# Gemini's and Grok's vocabularies are not published. They are larger than Claude's published one, so they count less.
_OTHERS = "claude"
_LOWER, _SPACE, _ASCII = b"abcdefghijklmnopqrstuvwxyz", b" \t\r\n", bytes(range(128))
_LEADS = [
    bytes(range(first, last + 1))
    for first, last in (
        (0xC2, 0xDF),
        (0xE0, 0xE0),
        (0xE1, 0xE1),
        (0xE2, 0xE2),
        (0xE3, 0xE9),
        (0xEA, 0xEF),
        (0xF0, 0xF4),
    )
]
ODD_TOKENS = 512

IMAGE_TOKENS = 4_800
# This model counts a tile 33-fold: 2,833 + 8 × 5,667.
_IMAGE_TOKENS_OF = {"gpt-4o-mini": 48_200}
# A page counts as text (up to 3,000 tokens) and as an image. A request may have at most 100 pages.
PAGE_TOKENS = 4_600
DOCUMENT_TOKENS = 100 * PAGE_TOKENS
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_LARGEST_READ = 4 * 1024 * 1024
# For recordings: 32 tokens a second, at 8 kbit/s in base64.
BYTES_PER_AUDIO_TOKEN = 40
# Instructions that the upstream adds for tools, and for each of its built-in tools.
TOOLS_TOKENS, BUILT_IN_TOOL_TOKENS = 600, 1_000
MESSAGE_TOKENS = 8
SEARCH_TOKENS = 10_000


class Bound(msgspec.Struct, frozen=True):
    """The most tokens that a prompt can count: by family, and as `tokens` in the families not listed.

    Of these, `media_tokens` are not text. `text_bytes` is the body's size without encoded data.
    """

    tokens: int
    by_family: dict[str, int]
    text_bytes: int
    images: int
    media_tokens: int


class _Media(msgspec.Struct):
    """What a prompt contains besides text. `tokens` are those of documents and recordings."""

    images: int = 0
    tokens: int = 0
    encoded: list[str] = []


def bound_of(body: bytes, contents: Sequence[Any], *, fixed_tokens: int = 0) -> Bound:
    """The bound of a whole body. `contents` are its messages' contents, `fixed_tokens` what the format adds."""
    media = _media_in(contents)
    for data in media.encoded:
        body = body.replace(data.encode(), b"", 1)
    media_tokens = media.tokens + media.images * IMAGE_TOKENS
    beside = media_tokens + MESSAGE_TOKENS * len(contents) + fixed_tokens
    by_family = {family: beside + tokens for family, tokens in _by_family(body).items()}
    return Bound(
        tokens=by_family[_OTHERS],
        by_family=by_family,
        text_bytes=len(body),
        images=media.images,
        media_tokens=media_tokens,
    )


def input_bound(ask: Ask, model: CatalogueModel, *, prompts: int = 1) -> int:
    """The most tokens that `ask` can count on `model`. Each of `prompts` prompts is at most as long as its window."""
    tokens = ask.family_bounds.get(model.family, ask.input_bound_tokens)
    for name, each in _IMAGE_TOKENS_OF.items():
        if name in model.upstream_name:
            tokens += ask.images * (each - IMAGE_TOKENS)
    return min(tokens, model.context_window * prompts)


def searching_bound(tokens: int, *, searches: int, window: int) -> int:
    """The most tokens of a prompt if the upstream makes `searches`: after each of them it reads everything again."""
    if not searches:
        return tokens
    return tokens + sum(min(window, tokens + done * SEARCH_TOKENS) for done in range(1, searches + 1))


def text_bound(text: bytes, family: str = "") -> int:
    """The most tokens that `text` can count."""
    return _by_family(text)[family if family in _WEIGHTS else _OTHERS]


def tool_tokens(kinds: Sequence[str | None]) -> int:
    """The tokens that tools of these types add besides their descriptions."""
    if not kinds:
        return 0
    built_in = sum(kind not in (None, "custom", "function") for kind in kinds)
    return TOOLS_TOKENS + BUILT_IN_TOOL_TOKENS * built_in


def _kinds(text: bytes) -> list[int]:
    """How many bytes or characters `text` has of each kind. `translate` reads bytes at the speed of memory."""
    rest = text.translate(None, _LOWER)
    dense = rest.translate(None, _SPACE)
    counts = [len(text) - len(rest), len(rest) - len(dense)]
    if dense.isascii():
        return [*counts, len(dense)]
    high = dense.translate(None, _ASCII)
    counts.append(len(dense) - len(high))
    return counts + [len(high) - len(high.translate(None, leads)) for leads in _LEADS]


def _by_family(text: bytes) -> dict[str, int]:
    """The most tokens that `text` can count in each family's vocabulary."""
    size = len(text)
    if size <= ODD_TOKENS:
        return dict.fromkeys(_WEIGHTS, size)
    kinds = _kinds(text)
    return {
        family: min(size, ODD_TOKENS - sum(map(mul, kinds, weights)) // -1000)
        for family, weights in _WEIGHTS.items()
    }


def _media_in(content: Any) -> _Media:
    """The images, documents and recordings anywhere in `content`."""
    found = _Media()
    stack = [content]
    while stack:
        each = stack.pop()
        if isinstance(each, (list, tuple)):
            stack.extend(each)
        elif isinstance(each, dict):
            kind = each.get("type")
            if kind in ("image", "image_url", "input_image"):
                found.images += 1
            elif kind == "input_audio":
                found.tokens += sum(map(len, _encoded_within(each))) // BYTES_PER_AUDIO_TOKEN
            elif kind in ("document", "input_file") or (kind == "file" and "file" in each):
                found.tokens += _document_tokens(each)
            found.encoded += _encoded_in(each)
            # A tool's input is text, whatever it looks like.
            stack.extend(value for name, value in each.items() if name != "input")
    return found


def _document_tokens(block: dict[str, Any]) -> int:
    """The most tokens of one document: by its pages if they can be counted, else by its bytes.

    Compressed text has at least 1.2 bytes for each token. A document given as text counts with the body's text.
    """
    if any(isinstance(each, dict) and each.get("type") in ("text", "content") for each in block.values()):
        return 0
    encoded = _encoded_within(block)
    size = sum(map(len, encoded))
    if not size:
        return DOCUMENT_TOKENS
    pages = sum(map(_pages, encoded)) if size <= _LARGEST_READ else 0
    return pages * PAGE_TOKENS if pages else min(DOCUMENT_TOKENS, size * 6 // 10)


def _pages(encoded: str) -> int:
    """How many pages a PDF lists; 0 if it keeps the list compressed."""
    try:
        return len(_PAGE.findall(binascii.a2b_base64(encoded.partition("base64,")[2] or encoded)))
    except ValueError:
        return 0


def _encoded_within(block: dict[str, Any]) -> list[str]:
    inside = [each for each in block.values() if isinstance(each, dict)]
    return [data for each in (block, *inside) for data in _encoded_in(each)]


def _encoded_in(block: dict[str, Any]) -> list[str]:
    """The base64 data that is directly in this object."""
    candidates = [block.get("url"), block.get("file_data")]
    encoded = [value for value in candidates if isinstance(value, str) and value.startswith("data:")]
    data = block.get("data")
    if isinstance(data, str) and (block.get("type") == "base64" or "format" in block):
        encoded.append(data)
    return encoded
