"""Change one member of a client's JSON body; all its other bytes go upstream as they came."""

import json
import re

from proxy.errors import InvalidRequest

_STRING = rb'"(?:[^"\\]|\\.)*"'
_SCALAR = re.compile(rb'\s*:\s*("(?:[^"\\]|\\.)*"|[^\s,}\]]+)', re.DOTALL)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
# Members that decide what a call costs. One pass for all takes a fifth to a tenth of the time of counting each.
_WATCHED = re.compile(rb'"(?:m(?:odel|ax_(?:completion_)?tokens)|stream(?:_options)?|n)"')
# A name written with escapes, such as `"m\u006fdel"`. Letters have no other escapes.
_SPELLED = re.compile(rb'[{,]\s*"[^"\\]*\\u00')
Span = tuple[int, int]


def refuse_ambiguity(body: bytes) -> None:
    """Raises InvalidRequest if a member that decides the cost appears twice: parsers differ on which one counts."""
    names = _WATCHED.findall(body)
    if len(names) != len(set(names)) or _has_escaped_name(body):
        members(body)


def _has_escaped_name(body: bytes) -> bool:
    """Whether a member's name may be written with escapes. Those in values are common, and do not count."""
    return b"\\u00" in body and _SPELLED.search(body) is not None


def members(body: bytes) -> dict[str, Span]:
    """The byte span of each top-level member's value. Raises InvalidRequest for a name that appears twice."""
    spans: dict[str, Span] = {}
    depth, name, start, end, expecting = 0, None, 0, 0, True
    for token in _TOKEN.finditer(body):
        text = token.group()
        if depth == 1 and text in (b",", b"}"):
            if name is not None:
                spans[name] = (start, end)
            name, expecting = None, True
        if text in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and expecting and text[:1] == b'"':
            name, expecting, start = json.loads(text), False, 0
            if name in spans:
                raise InvalidRequest(f"{name!r} appears twice in the body. Send it once.", field=name)
        elif depth == 1 and not expecting and text != b":" and not start:
            start = token.start()
        if text in (b"{", b"["):
            depth += 1
        end = token.end()
    return spans


def put(body: bytes, name: str, value: str | int | bool | dict[str, object]) -> bytes:
    """`body` with its top-level member `name` set to `value`, added in front if it is missing."""
    span = _only_scalar(body, name) or members(body).get(name)
    text = json.dumps(value, separators=(",", ":")).encode()
    if span is not None:
        return body[: span[0]] + text + body[span[1] :]
    at = body.index(b"{") + 1
    comma = b"" if body[at:].lstrip().startswith(b"}") else b","
    return body[:at] + json.dumps(name).encode() + b":" + text + comma + body[at:]


def put_inside(body: bytes, outer: str, name: str, value: str | int | bool) -> bytes:
    """`body` with member `name` of its top-level object `outer` set to `value`. The object's other members stay."""
    span = members(body).get(outer)
    inside = body[span[0] : span[1]] if span else b""
    if not inside.startswith(b"{"):
        return put(body, outer, {name: value})
    assert span is not None
    return body[: span[0]] + put(inside, name, value) + body[span[1] :]


def _only_scalar(body: bytes, name: str) -> Span | None:
    """The span of a member's value if its quoted name occurs only once in the body, before a scalar; else `None`.

    Saves reading all tokens of the body. They have to be read if the name might be a nested one.
    """
    quoted = json.dumps(name).encode()
    at = body.find(quoted)
    if at < 0 or body.find(quoted, at + 1) >= 0 or body.count(b"{", 0, at) != 1 or _has_escaped_name(body):
        return None
    if body[at - 1 : at] == b"\\":
        return None  # the end of a longer name, such as `"\"max_tokens"`, which no upstream reads as this one
    scalar = _SCALAR.match(body, at + len(quoted))
    return scalar.span(1) if scalar and scalar.group(1)[:1] not in b"{[" else None
