"""Which headers pass: an allow-list towards the upstream, a deny-list towards the caller.

Names are lower case throughout, as ASGI servers deliver them.
"""

from collections.abc import Iterable, Mapping

RawHeaders = list[tuple[bytes, bytes]]

# Nothing else of the caller's is sent: not its key, cookies and address, nor its idempotency keys, which would collide
# between tenants under the one upstream key.
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
    # They describe the body as it came. What we send may be decoded or chunked otherwise.
    b"content-encoding",
    b"content-length",
    # About the company's account and its upstream's front door: none of the tenant's business.
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
    # Sent with our own values.
    b"request-id",
    b"x-request-id",
}
# The upstream's rate limits describe the company's shared account. The rest could be mistaken for our own headers.
_DROPPED_PREFIXES = (
    b"anthropic-ratelimit-",
    b"cf-",
    b"ratelimit",
    b"x-ratelimit-",
    b"x-tenantry-",
    b"x-upstream-",
)


def read(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The request's headers by name. One that came twice is joined by a comma, as in RFC 9110.

    Names with an underscore are ignored, since some proxies treat `x_api_key` and `x-api-key` as the same header.
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
    """The headers to send to the upstream: those the caller may set, then ours, which override them.

    `extra` names further headers of the caller that this upstream may see (for the sandbox).
    """
    chosen = {}
    for name in (*_TO_UPSTREAM, *extra):
        value = headers.get(name)
        # Beyond ASCII, the client library would send other bytes than came in.
        if value is not None and value.isascii():
            chosen[name] = value
    chosen.update(tracking)
    chosen.update(credentials)
    # A compressed stream could not be both metered and passed on byte by byte.
    chosen["accept-encoding"] = "identity"
    return chosen


def to_caller(raw: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Those of the upstream's response headers that the caller gets, in their order."""
    return [
        (name, value)
        for name, value in raw
        if name not in _DROPPED and not name.startswith(_DROPPED_PREFIXES)
    ]
