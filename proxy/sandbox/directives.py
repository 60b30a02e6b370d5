"""How a request tells the sandbox what to do: `[[sandbox status=529]]` in a text, or header `x-sandbox`."""

import re

import msgspec

_IN_TEXT = re.compile(rb"\[\[sandbox ([^\]\[]*)\]\]")
_PAIR = re.compile(r"([a-z0-9_]+)=([A-Za-z0-9_.:/-]+)")


class Directives(msgspec.Struct, frozen=True):
    """What to do; `None` and 0 leave it to the sandbox.

    Counts are tokens. A stream is `deltas` pieces of `delta_words` words; `latency_ms` passes before its first byte,
    `delta_ms` between the pieces. `cut_after` and `error_after` count events: then the stream breaks off, or an error
    event follows. `status` answers an error, `html` a proxy's HTML page with that status (524), `hang` never answers.
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
    """The header's directives, or those in the text. Raises msgspec.ValidationError for a wrong one."""
    found = _IN_TEXT.search(body)
    text = header or (found.group(1).decode("ascii", "replace") if found else "")
    return msgspec.convert(dict(_PAIR.findall(text)), Directives, strict=False)
