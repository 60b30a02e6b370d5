"""Where webhooks may go: public addresses over https, looked up once and then connected to as looked up."""

import ipaddress
import re
import socket
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

MAIL = "mailto:"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SIXTOFOUR = ipaddress.ip_network("2002::/16")
_TEREDO = ipaddress.ip_network("2001::/32")


class ForbiddenAddress(ValueError):
    """Why nothing is sent there."""


class Place(msgspec.Struct, frozen=True):
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
        if (literal := _literal(host)) and not allowed(host, port):
            refuse_private(literal)
    except ForbiddenAddress as error:
        raise ValidationError(str(error)) from error


def place_of(url: str) -> Place:
    """Look `url`'s host up and check every address it has. Raises ForbiddenAddress, OSError."""
    host, port = _parts(url)
    parts = urlsplit(url)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]
    if not allowed(host, port):
        for address in addresses:
            refuse_private(address)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(
        secure=parts.scheme == "https", host=host, address=str(addresses[0]), port=port, target=target
    )


def allowed(host: str, port: int) -> bool:
    """Whether the operator has excepted this host and port (`WEBHOOK_ALLOW_HOSTS`)."""
    return f"{host}:{port}" in settings.WEBHOOK_ALLOW_HOSTS


def refuse_private(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Raises ForbiddenAddress for everything but the public internet, also where an IPv4 hides in an IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        hidden = address.ipv4_mapped or address.sixtofour
        if hidden or address in _NAT64 or address in _SIXTOFOUR or address in _TEREDO:
            raise ForbiddenAddress("The address is an IPv4 address in disguise.")
    if not address.is_global or address.is_multicast or address.is_reserved:
        raise ForbiddenAddress("The address is not on the public internet.")


def _parts(url: str) -> tuple[str, int]:
    """Host and port. Raises ForbiddenAddress."""
    if len(url) > 2000 or re.search(r"[\s\x00-\x1f\\]", url):
        raise ForbiddenAddress("The URL has characters that no URL has, or is too long.")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise ForbiddenAddress(f"Not a URL: {error}.") from error
    if parts.username is not None or parts.password is not None:
        raise ForbiddenAddress("User names and passwords in URLs are not taken; check our signature instead.")
    if not host or parts.scheme not in ("https", "http"):
        raise ForbiddenAddress("A whole URL is needed, such as https://example.com/hooks.")
    port = port or (443 if parts.scheme == "https" else 80)
    if parts.scheme == "http" and not allowed(host, port):
        raise ForbiddenAddress("Only https URLs are taken.")
    return host, port


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, if the host is one however it is written (0x7f.1 and 2130706433 are 127.0.0.1)."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.ip_address(socket.inet_aton(host)) if re.fullmatch(r"[0-9a-fx.]+", host) else None
    except OSError:
        return None
