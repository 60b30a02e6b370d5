import socket

import pytest
from django.core.exceptions import ValidationError

from billing.webhooks.guard import ForbiddenAddress, place_of, validate_url


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
        place_of("https://localhost/")


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch):
    answers = [(2, 1, 6, "", ("8.8.8.8", 443)), (2, 1, 6, "", ("10.0.0.1", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(ForbiddenAddress):
        place_of("https://example.com/")


def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("8.8.4.4", 443))])
    place = place_of("https://example.com/a?b=c")
    assert (place.address, place.host, place.authority, place.target) == (
        "8.8.4.4",
        "example.com",
        "example.com",
        "/a?b=c",
    )


def test_the_operator_may_except_a_host(settings):
    settings.WEBHOOK_ALLOW_HOSTS = ["127.0.0.1:9000"]
    validate_url("http://127.0.0.1:9000/hooks")
    assert place_of("http://127.0.0.1:9000/hooks").port == 9000
    with pytest.raises(ValidationError):
        validate_url("http://127.0.0.1:9001/hooks")
