"""Where webhooks may go: public addresses over https, looked up once and then connected to as looked up."""

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
# What is given out to the public internet at all; `ipaddress` knows most exceptions, but not all of these.
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
_ISATAP = {0x0000_5EFE, 0x0200_5EFE}  # the third quarter of an address whose last one is an IPv4 address
# A look-up at save is a courtesy to who types the URL; deliveries repeat it.
_LOOKUP_SECONDS = 3
_lookups = ThreadPoolExecutor(max_workers=8, thread_name_prefix="webhook-lookup")


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenAddress(ValueError):
    """Why nothing is sent there."""


class Destination(msgspec.Struct, frozen=True):
    """Where to connect: `address` is the checked IP, `host` the name for TLS and the Host header."""

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
    """For forms and the API. Raises ValidationError with what to do; a name need not resolve yet."""
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
    """Look `url`'s host up and check every address it has. Raises ForbiddenAddress, OSError."""
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
    """Whether the operator has excepted this host and port (`WEBHOOK_ALLOW_HOSTS`)."""
    return f"{host}:{port}" in settings.WEBHOOK_ALLOW_HOSTS


def refuse_private(address: Address) -> None:
    """Raises ForbiddenAddress for everything but the public internet, also where an IPv4 hides in an IPv6."""
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
    """The addresses `host` is, however it is written (0x7f.1 and 2130706433 are 127.0.0.1), or has by now."""
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
