"""How a request tells the sandbox what to do: `[[sandbox status=529]]` in a text, or the header `x-sandbox`."""

import re

import msgspec

_IN_TEXT = re.compile(rb"\[\[sandbox ([^\]\[]*)\]\]")
_PAIR = re.compile(r"([a-z0-9_]+)=([A-Za-z0-9_.:/-]+)")


class Directives(msgspec.Struct, frozen=True):
    """What the sandbox should do; `None` and 0 leave it to its defaults.

    `*_tokens` set the usage. A stream has `deltas` pieces of `delta_words` words, the first byte after `latency_ms`,
    and `delta_ms` between pieces. After `cut_after` events it breaks off, after `error_after` an error event follows.
    `status` answers an error, `html` a proxy's HTML page with that status (524 by default), `hang` never answers.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    web_searches: int = 0
    latency_ms: int = 0
    delta_ms: int = 0
    deltas: int = 0
    delta_words: int = 1
    status: int = 200
    html: int = 0
    cut_after: int = 0
    error_after: int = 0
    hang: int = 0
    no_usage: int = 0
    retry_after: int = 0
    model: str = ""


def directives_of(body: bytes, header: str) -> Directives:
    """The directives of the header, else of the text. Raises msgspec.ValidationError."""
    match = _IN_TEXT.search(body)
    text = header or (match.group(1).decode("ascii", "replace") if match else "")
    return msgspec.convert(dict(_PAIR.findall(text)), Directives, strict=False)
