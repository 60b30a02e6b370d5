"""A caller is who connects, or whom a trusted proxy names; never whom it says itself that it is."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from gateway_project.client_address import Proxies
from gateway_project.settings import AXES_CLIENT_IP_CALLABLE


def caller(trusted: str, peer: str, *lines: str) -> str:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", line.encode("latin-1")) for line in lines)]
    scope: dict[str, Any] = {"scheme": "http", "client": (peer, 4000), "headers": headers}
    Proxies(trusted.split(",")).name_caller(scope)
    return str(scope["client"][0])


@pytest.mark.parametrize(
    ("trusted", "peer", "lines", "expected"),
    [
        ("127.0.0.1", "203.0.113.9", ["6.6.6.6"], "203.0.113.9"),  # a stranger's word is nothing
        ("127.0.0.1", "127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.0/8", "10.1.2.3", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),  # the proxy adds at the right
        (
            "10.0.0.0/8",
            "10.1.2.3",
            ["6.6.6.6", "203.0.113.9, 10.4.4.4"],
            "203.0.113.9",
        ),  # two proxies, two lines
        ("10.1.2.3/8", "10.200.0.1", ["203.0.113.9"], "203.0.113.9"),  # an address of the network names it
        ("*", "10.1.2.3", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),  # one proxy, whoever it is
        ("*", "10.1.2.3", ["6.6.6.6, 10.7.7.7"], "10.7.7.7"),
        ("172.16.0.0/12", "::ffff:172.18.0.3", ["203.0.113.9"], "203.0.113.9"),  # a socket for both protocols
        ("10.0.0.0/8", "10.1.2.3", ["::ffff:203.0.113.9"], "203.0.113.9"),  # one caller, one spelling
        ("10.0.0.0/8", "10.1.2.3", ["203.0.113.9:5555"], "203.0.113.9"),
        ("fd00::/8", "fd00::1", ["[2001:db8::7]:443"], "2001:db8::7"),
        ("10.0.0.0/8", "10.1.2.3", ["6.6.6.6, unknown"], "10.1.2.3"),  # what is no address is nobody's
        ("10.0.0.0/8", "10.1.2.3", ["\xff" * 500], "10.1.2.3"),
        ("10.0.0.0/8", "10.1.2.3", [""], "10.1.2.3"),
        ("10.0.0.0/8", "10.1.2.3", ["10.5.5.5"], "10.5.5.5"),  # a caller of our own network
    ],
)
def test_a_header_of_the_callers_own_never_wins(trusted, peer, lines, expected):
    assert caller(trusted, peer, *lines) == expected


@pytest.mark.parametrize(
    ("peer", "said", "scheme"), [("10.1.2.3", b"https", "https"), ("203.0.113.9", b"https", "http")]
)
def test_the_scheme_is_a_trusted_proxys_to_name(peer, said, scheme):
    scope = {"scheme": "http", "client": (peer, 1), "headers": [(b"x-forwarded-proto", said)]}
    Proxies(["10.0.0.0/8"]).name_caller(scope)

    assert scope["scheme"] == scheme
    assert scope["client"][0] == peer


def test_a_socket_without_addresses_is_asked_for_none():
    scope = {"scheme": "http", "client": None, "headers": [(b"x-forwarded-for", b"6.6.6.6")]}
    Proxies(["10.0.0.0/8"]).name_caller(scope)

    assert scope["client"] is None


@pytest.mark.parametrize("bad", ["nginx", "10.0.0.0/40", "10.0.0", "1.2.3.4:80"])
def test_what_is_no_network_is_refused_by_name(bad):
    with pytest.raises(ImproperlyConfigured, match="FORWARDED_ALLOW_IPS"):
        Proxies([bad])


def test_lockouts_count_by_the_address_the_server_found(rf):
    from django.utils.module_loading import import_string

    request = rf.get("/", REMOTE_ADDR="203.0.113.9", HTTP_X_FORWARDED_FOR="6.6.6.6")

    assert import_string(AXES_CLIENT_IP_CALLABLE)(request) == "203.0.113.9"
