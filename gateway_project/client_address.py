"""The caller's address: the one that connects, or the one that a trusted proxy reports.

uvicorn's own version is not used. With `*` it takes the leftmost address of `X-Forwarded-For`, which the caller can
choose. It passes on any text found there, and does not recognize 10.0.0.1 in ::ffff:10.0.0.1.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from gateway_project.ground import env

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ANYONE = "*"


class Proxies:
    """The trusted proxies: addresses and networks, or `*` for whoever connects.

    Each proxy appends the address it saw. Read from the right, the first one that is not a trusted proxy is the caller;
    everything further left is only the caller's claim. With `*`, exactly one proxy is assumed.
    """

    def __init__(self, trusted: Sequence[str]) -> None:
        self._anyone = ANYONE in trusted
        self._networks = tuple(_network(each) for each in trusted if each != ANYONE)
        self._knows = lru_cache(maxsize=4096)(self._is_proxy)

    def name_caller(self, scope: dict[str, Any]) -> None:
        """Put the caller's address and scheme into an ASGI scope, if a trusted proxy connects."""
        client = scope.get("client")
        peer = client[0] if client else ""
        if not self._knows(peer):
            return
        chain = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                chain += value.decode("latin-1").split(",")
            elif name == b"x-forwarded-proto" and value in (b"http", b"https"):
                scope["scheme"] = value.decode()
        if chain:
            scope["client"] = (self._caller(peer, chain), 0)

    def _caller(self, peer: str, chain: list[str]) -> str:
        found = peer
        for text in reversed(chain):
            address = _address(text)
            if address is None:
                break
            found = str(address)
            if self._anyone or not self._knows(found):
                break
        return found

    def _is_proxy(self, peer: str) -> bool:
        if self._anyone:
            return True
        address = _address(peer)
        return address is not None and any(address in network for network in self._networks)


@lru_cache(maxsize=1)
def trusted_proxies() -> Proxies:
    """The proxies of FORWARDED_ALLOW_IPS. Raises ImproperlyConfigured."""
    return Proxies(env.words("FORWARDED_ALLOW_IPS", "127.0.0.1,::1"))


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ImproperlyConfigured(
            f"FORWARDED_ALLOW_IPS takes addresses and networks, such as 10.0.0.0/8, or '*'; not {text!r}."
        ) from None


def _address(text: str) -> Address | None:
    """The address in `1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80`; `None` for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
