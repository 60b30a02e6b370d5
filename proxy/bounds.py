"""How many input tokens a body can count at most, from its bytes.

Every token of a byte-level tokenizer covers at least one byte, so short bodies are bounded by their bytes.
Beyond the first kilobytes real text (prose, code, JSON, CJK, emoji) stays below half a token a byte, and that
is what is held; a body made of noise can pass it, is charged what it cost, and shows as an overrun.
Pictures and documents are counted by kind, not by their base64 bytes.
"""

from typing import Any

STRICT_BYTES = 2048
IMAGE_TOKENS = 4_800
DOCUMENT_TOKENS = 60_000
TOOLS_TOKENS = 600
MESSAGE_TOKENS = 8


def text_bound(size: int) -> int:
    """Tokens of `size` bytes of text at most."""
    return size if size <= STRICT_BYTES else STRICT_BYTES + (size - STRICT_BYTES + 1) // 2


def heavy_blocks(content: Any) -> tuple[int, int]:
    """Pictures' and documents' tokens anywhere in `content`, and the bytes of encoded data to leave out."""
    tokens = data = 0
    stack = [content]
    while stack:
        each = stack.pop()
        if isinstance(each, list):
            stack.extend(each)
        elif isinstance(each, dict):
            kind = each.get("type")
            if kind in ("image", "image_url", "input_image"):
                tokens += IMAGE_TOKENS
            elif kind in ("document", "input_audio") or (kind == "file" and "file" in each):
                tokens += _document_tokens(each)
            data += _data_size(each)
            stack.extend(value for value in each.values() if isinstance(value, (list, dict)))
    return tokens, data


def _document_tokens(block: dict[str, Any]) -> int:
    """Of one document. A page of PDF is some 50 kB or more and counts about 3,000 tokens, as text and as a
    picture; what is written out as text counts by its bytes, which stay in the body's size."""
    inside = [each for each in block.values() if isinstance(each, dict)]
    if any(each.get("type") in ("text", "content") for each in inside):
        return 0
    size = _data_size(block) + sum(map(_data_size, inside))
    return max(3_000, size // 12) if size else DOCUMENT_TOKENS


def _data_size(block: dict[str, Any]) -> int:
    """Bytes of base64 that stand directly in this object."""
    if block.get("type") == "text":
        return 0
    size = 0
    for name in ("data", "url", "file_data"):
        value = block.get(name)
        if isinstance(value, str) and (name != "url" or value.startswith("data:")):
            size += len(value)
    return size
