"""`/` leads somewhere, whoever comes."""

import pytest
from django.contrib.staticfiles import finders

from tests.factories import MembershipFactory, StaffFactory, UserFactory

pytestmark = pytest.mark.django_db


def test_a_stranger_chooses_where_to_sign_in(client):
    page = client.get("/")

    assert page.status_code == 200
    for door in ("/portal/", "/admin/"):
        assert f'href="{door}"' in page.content.decode()


@pytest.mark.parametrize(
    ("person", "door"),
    [
        (StaffFactory, "/admin/"),
        (lambda: UserFactory(is_staff=True), "/admin/"),
        (lambda: MembershipFactory().user, "/portal/"),
        (UserFactory, "/portal/"),
    ],
)
def test_who_is_signed_in_goes_on_to_where_they_belong(client, person, door):
    client.force_login(person())

    answer = client.get("/")

    assert (answer.status_code, answer.url) == (302, door)
    assert "no-store" in answer.headers["Cache-Control"]


def test_a_client_that_looks_whether_somebody_is_there_finds_somebody(client):
    answer = client.head("/")

    assert (answer.status_code, answer.content) == (200, b"")


def test_nothing_else_is_done_here(client):
    assert client.post("/").status_code == 405


def test_a_favicon_is_answered(client):
    answer = client.get("/favicon.ico")

    assert answer.status_code == 302
    assert finders.find(answer.url.removeprefix("/static/"))
