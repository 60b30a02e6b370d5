"""What `check --deploy` says about PUBLIC_URL."""

import pytest

from gateway_project.server.checks import public_url


@pytest.fixture
def said(settings, monkeypatch):
    """`said(public_url=…, hosts=[…])` answers the ids of the warnings."""

    def check(*, public: str, hosts: list[str], https: bool = True) -> list[str]:
        settings.ALLOWED_HOSTS, settings.HTTPS = hosts, https
        if public:
            monkeypatch.setenv("PUBLIC_URL", public)
            settings.PUBLIC_URL = public
        else:
            monkeypatch.delenv("PUBLIC_URL", raising=False)
        return [str(message.id) for message in public_url(None)]

    return check


def test_an_installation_of_this_machine_alone_needs_none(said):
    assert said(public="", hosts=["localhost", "127.0.0.1"]) == []


def test_a_public_installation_needs_one(said):
    assert said(public="", hosts=["gateway.example.com"]) == ["tenantry.W001"]


def test_one_that_fits_is_fine(said):
    assert said(public="https://gateway.example.com", hosts=[".example.com"]) == []


def test_its_host_has_to_be_served_and_by_tls(said):
    assert said(public="http://other.example.org", hosts=["gateway.example.com"]) == [
        "tenantry.W002",
        "tenantry.W003",
    ]


def test_an_ipv6_address_is_compared_in_its_brackets(said):
    assert said(public="https://[2001:4860:4860::8888]", hosts=["[2001:4860:4860::8888]"]) == []
