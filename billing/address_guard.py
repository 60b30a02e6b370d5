"""Where webhooks may go: public addresses over https. A host is resolved once and connected to at that address."""

import ipaddress
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

MAIL = "mailto:"
# The only range given out to the public internet. `ipaddress` knows most of its exceptions, but not all of these.
_IPV6_PUBLIC = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC = [
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
]
_ISATAP = {0x0000_5EFE, 0x0200_5EFE}  # third 32 bits of an address whose last 32 are an IPv4 address
# The look-up when a URL is saved is only early feedback: each delivery repeats it.
_LOOKUP_SECONDS = 3
_lookups = ThreadPoolExecutor(max_workers=8, thread_name_prefix="webhook-lookup")


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenAddress(ValueError):
    """The URL may not be sent to; the message says why."""


class Destination(msgspec.Struct, frozen=True):
    """Where to connect: `address` is the checked IP, `host` the name for TLS and the Host header, `target` the path."""

    secure: bool
    host: str
    address: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def validate_url(url: str) -> None:
    """Check a URL from a form or the API; its host need not resolve yet. Raises ValidationError."""
    if url.startswith(MAIL):
        validate_email(url.removeprefix(MAIL))
        return
    try:
        host, port = _parts(url)
        if not allowed(host, port):
            for address in _known_addresses(host, port):
                refuse_private(address)
    except ForbiddenAddress as error:
        raise ValidationError(str(error)) from error


def destination_of(url: str) -> Destination:
    """Resolve `url`'s host and check every address it has. Raises ForbiddenAddress, OSError."""
    host, port = _parts(url)
    parts = urlsplit(url)
    addresses = _addresses(host, port)
    if not allowed(host, port):
        for address in addresses:
            refuse_private(address)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination(
        secure=parts.scheme == "https", host=host, address=str(addresses[0]), port=port, target=target
    )


def allowed(host: str, port: int) -> bool:
    """Whether the operator allows this host and port, even if private (`WEBHOOK_ALLOW_HOSTS`)."""
    return f"{host}:{port}" in settings.WEBHOOK_ALLOW_HOSTS


def refuse_private(address: Address) -> None:
    """Raises ForbiddenAddress for all but public addresses, and for IPv6 addresses that embed an IPv4 address."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        raise ForbiddenAddress("The address is not on the public internet.")
    if any(address in network for network in _NOT_PUBLIC):
        raise ForbiddenAddress("The address is not on the public internet.")
    if isinstance(address, ipaddress.IPv6Address) and (
        address not in _IPV6_PUBLIC or (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP
    ):
        raise ForbiddenAddress("The address is not on the public internet, or embeds an IPv4 address.")


def _addresses(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]


def _known_addresses(host: str, port: int) -> list[Address]:
    """The addresses of `host`, also of odd spellings (0x7f.1, 2130706433); none if it does not resolve in time."""
    try:
        return _lookups.submit(_addresses, host, port).result(timeout=_LOOKUP_SECONDS)
    except (OSError, TimeoutError, UnicodeError):
        return []


def _parts(url: str) -> tuple[str, int]:
    """Host and port. Raises ForbiddenAddress."""
    if len(url) > 2000 or re.search(r"[\s\x00-\x1f\\]", url):
        raise ForbiddenAddress("The URL contains invalid characters or is too long.")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise ForbiddenAddress(f"Not a URL: {error}.") from error
    if parts.username is not None or parts.password is not None:
        raise ForbiddenAddress(
            "URLs with a username or password are not accepted. Verify our signature instead."
        )
    if not host or parts.scheme not in ("https", "http"):
        raise ForbiddenAddress("Enter a full URL such as https://example.com/hooks.")
    port = port or (443 if parts.scheme == "https" else 80)
    if parts.scheme == "http" and not settings.DEBUG and not allowed(host, port):
        raise ForbiddenAddress("Only https URLs are accepted.")
    return host, port
