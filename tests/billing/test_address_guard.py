import socket

import pytest
from django.core.exceptions import ValidationError

from billing.address_guard import ForbiddenAddress, destination_of, validate_url

# One of each kind that is not the public internet, RFC 6890 and what came after it.
NOT_PUBLIC = {
    "this network": "0.1.2.3",
    "private": "10.1.2.3",
    "shared by a carrier": "100.64.0.1",
    "loopback": "127.9.9.9",
    "link-local": "169.254.169.254",
    "private, 172": "172.31.255.255",
    "protocol assignments": "192.0.0.9",
    "documentation": "192.0.2.1",
    "6to4 relay": "192.88.99.1",
    "private, 192": "192.168.1.1",
    "benchmarking": "198.19.0.1",
    "documentation, 203": "203.0.113.9",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "unspecified": "::",
    "loopback, 6": "::1",
    "IPv4-compatible": "::8.8.8.8",
    "IPv4-mapped": "::ffff:8.8.8.8",
    "IPv4-translated": "::ffff:0:8.8.8.8",
    "NAT64": "64:ff9b::808:808",
    "NAT64 of one's own": "64:ff9b:1::808:808",
    "discard": "100::1",
    "Teredo": "2001::1",
    "ORCHID": "2001:10::1",
    "documentation, 6": "2001:db8::1",
    "6to4": "2002:808:808::1",
    "documentation, 3fff": "3fff::1",
    "segment routing": "5f00::1",
    "unique local": "fd00:ec2::254",
    "link-local, 6": "fe80::1",
    "site-local": "fec0::1",
    "multicast, 6": "ff0e::1",
    "ISATAP": "2a00:1450::5efe:a01:203",
}


@pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC)
def test_no_kind_of_address_but_a_public_one_is_taken_at_save_or_connected_to(address, monkeypatch):
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(ValidationError):
        validate_url(f"https://{host}/hooks")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 1, 6, "", (address, 443))])
    with pytest.raises(ForbiddenAddress):
        destination_of("https://hooks.example.com/")


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001:82a::200e"]
)
def test_public_addresses_are_connected_to(address, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 1, 6, "", (address, 443))])
    assert destination_of("https://hooks.example.com/").address == address


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https://user:pass@example.com/",
        "https:///path",
        "example.com/hooks",
        "https://exa mple.com/",
        "https://127.0.0.1/",
        "https://0.0.0.0/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/",
        "https://224.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[fe80::1]/",
        "https://example.com:99999/",
        "mailto:nobody",
    ],
)
def test_an_address_that_is_not_public_or_no_url_is_refused(url):
    with pytest.raises(ValidationError):
        validate_url(url)


@pytest.mark.parametrize(
    "url", ["https://hooks.example.com/a?b=c", "https://8.8.8.8:8443/x", "mailto:a@example.com"]
)
def test_public_https_and_mail_are_taken(url):
    validate_url(url)


def test_a_name_that_leads_inside_is_refused_when_it_is_looked_up():
    with pytest.raises(ForbiddenAddress):
        destination_of("https://localhost/")


def test_a_name_that_leads_inside_is_refused_at_save_already():
    with pytest.raises(ValidationError, match="public internet"):
        validate_url("https://localhost/hooks")


def test_plain_http_is_for_debugging_and_public_addresses(settings):
    settings.DEBUG = True
    validate_url("http://8.8.8.8/hooks")
    with pytest.raises(ValidationError):
        validate_url("http://127.0.0.1/hooks")


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch):
    answers = [(2, 1, 6, "", ("8.8.8.8", 443)), (2, 1, 6, "", ("10.0.0.1", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(ForbiddenAddress):
        destination_of("https://example.com/")


def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("8.8.4.4", 443))])
    place = destination_of("https://example.com/a?b=c")
    assert (place.address, place.host, place.authority, place.target) == (
        "8.8.4.4",
        "example.com",
        "example.com",
        "/a?b=c",
    )


def test_the_operator_may_except_a_host(settings):
    settings.WEBHOOK_ALLOW_HOSTS = ["127.0.0.1:9000"]
    validate_url("http://127.0.0.1:9000/hooks")
    assert destination_of("http://127.0.0.1:9000/hooks").port == 9000
    with pytest.raises(ValidationError):
        validate_url("http://127.0.0.1:9001/hooks")
