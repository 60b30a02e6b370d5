"""Which headers pass: an allow-list towards the upstream, a drop-list towards the caller.

Names are lower case throughout; ASGI servers deliver them so.
"""

from collections.abc import Iterable, Mapping

RawHeaders = list[tuple[bytes, bytes]]

# Everything else of the caller's stays here: its key, its cookies, its address, its idempotency keys
# (which would collide between tenants under the one upstream key).
_TO_UPSTREAM = (
    "accept",
    "anthropic-beta",
    "anthropic-version",
    "content-type",
    "openai-beta",
    "user-agent",
)
_HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
_DROPPED = _HOP_BY_HOP | {
    # Of the body as it came; what we send may be decoded or cut into other pieces.
    b"content-encoding",
    b"content-length",
    # The company's account and its front door, not the tenant's business.
    b"alt-svc",
    b"anthropic-organization-id",
    b"date",
    b"nel",
    b"openai-organization",
    b"openai-project",
    b"report-to",
    b"server",
    b"set-cookie",
    b"strict-transport-security",
    b"via",
    b"www-authenticate",
    # Answered under our own names and values.
    b"request-id",
    b"x-request-id",
}
# Upstream's rate limits describe the company's shared account; the rest would pass for a word of ours.
_DROPPED_PREFIXES = (
    b"anthropic-ratelimit-",
    b"cf-",
    b"ratelimit",
    b"x-ratelimit-",
    b"x-tenantry-",
    b"x-upstream-",
)


def read(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The request's headers by name; one that came twice is joined by a comma, as RFC 9110 reads it.

    A name with an underscore is ignored: behind some proxies `x_api_key` and `x-api-key` are one header.
    """
    headers: dict[str, str] = {}
    for name, value in raw:
        key = name.decode("latin-1")
        text = value.decode("latin-1")
        if key in headers:
            headers[key] = f"{headers[key]},{text}"
        elif "_" not in key:
            headers[key] = text
    return headers


def to_upstream(
    headers: Mapping[str, str],
    *,
    credentials: Mapping[str, str],
    tracking: Mapping[str, str],
    extra: tuple[str, ...] = (),
) -> dict[str, str]:
    """What goes to the upstream: what the caller may set of `headers`, then ours, which win.

    `extra` names further headers of the caller that this upstream understands (the sandbox's).
    """
    chosen = {}
    for name in (*_TO_UPSTREAM, *extra):
        value = headers.get(name)
        # Beyond ASCII, the client library would write other bytes than it was given.
        if value is not None and value.isascii():
            chosen[name] = value
    chosen.update(tracking)
    chosen.update(credentials)
    # Bytes out are bytes in: a compressed stream could neither be metered nor passed on as it is.
    chosen["accept-encoding"] = "identity"
    return chosen


def to_caller(raw: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """What of the upstream's answer headers reaches the caller, in their order."""
    return [
        (name, value)
        for name, value in raw
        if name not in _DROPPED and not name.startswith(_DROPPED_PREFIXES)
    ]
