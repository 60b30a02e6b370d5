"""Addresses that are mailed, or shown to be handed on, come from a setting: a request's Host is its caller's word."""

import re
from pathlib import Path

import pytest
from django.urls import reverse

from tests.factories import MembershipFactory, StaffFactory

HOME = Path(__file__).resolve().parents[2]
FROM_THE_CALLER = re.compile(r"get_host\(|build_absolute_uri|get_current_site|HTTP_HOST|SERVER_NAME")


def test_no_line_of_the_product_builds_an_address_from_a_request():
    found = [
        f"{file.relative_to(HOME)}:{number}"
        for room in ("gateway_project", "tenants", "billing", "routing", "templates")
        for file in (HOME / room).rglob("*")
        if file.suffix in {".py", ".html", ".txt"}
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if FROM_THE_CALLER.search(line)
    ]

    assert found == []


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["quickstart", "dashboard"])
def test_pages_to_copy_from_show_the_public_address(client, settings, page):
    settings.PUBLIC_URL, settings.ALLOWED_HOSTS = "https://gateway.example.com", ["*"]
    member = MembershipFactory()
    client.force_login(member.user if page == "quickstart" else StaffFactory())
    address = reverse("portal:quickstart", args=[member.tenant.slug]) if page == "quickstart" else "/admin/"

    text = client.get(address, headers={"host": "evil.example:6666"}).content.decode()

    assert "https://gateway.example.com" in text
    assert "evil.example" not in text
