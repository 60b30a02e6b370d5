"""The console's site: its sidebar, names and missing pages."""

import re

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils.html import strip_tags

from gateway_project.console_kit.site import page_names
from tests.gateway_project.console.test_roles import CASES

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "page", ["index", "auth_user_changelist", "auth_group_changelist", "auditlog_logentry_changelist"]
)
def test_the_other_pages_answer(staff, page):
    assert staff.get(reverse(f"admin:{page}")).status_code == 200


@pytest.mark.parametrize(("address", "name"), page_names().items())
def test_a_page_has_the_name_that_the_sidebar_has_for_it(staff, redis_server, address, name):
    page = staff.get(address).content.decode()

    heading = re.search(r"<h1[^>]*>(.*?)</h1>", page, re.DOTALL)
    assert heading
    assert strip_tags(heading[1]).strip() == name
    assert re.search(rf"<title>\s*{name} \| Tenantry", page)


def test_a_role_is_called_so_on_its_own_page_too(staff):
    role = Group.objects.get(name="Finance")

    page = staff.get(reverse("admin:auth_group_change", args=[role.pk])).content.decode()

    heading = re.search(r"<h1[^>]*>(.*?)</h1>", page, re.DOTALL)
    assert heading
    assert [each.strip() for each in strip_tags(heading[1]).split("chevron_right")] == ["Roles", "Finance"]
    assert "Change role" in page


@pytest.mark.parametrize(("address", "status"), [("/nowhere/", 404), ("/portal/t/nobody/x/", 404)])
def test_what_is_not_found_has_the_products_look(staff, address, status):
    page = staff.get(address)

    assert page.status_code == status
    assert "you do not have access to it".lower() in page.content.decode().lower()


LISTED = [case for case in CASES if case[0].endswith("changelist")]


@pytest.mark.parametrize(("page", "role", "status"), LISTED)
def test_the_sidebar_has_exactly_the_pages_a_role_gets(as_role, page, role, status):
    index = as_role(role).get(reverse("admin:index")).content.decode()

    assert (f'href="{reverse(f"admin:{page}")}"' in index) == (status == 200)
