"""The description of the control API: who may read it, and where it is."""

import pytest
from rest_framework.test import APIClient

from tenants.people.operators import rotate_token
from tests.factories import (
    StaffFactory,
    UserFactory,
)
from tests.gateway_project.api.test_tenants import api as api  # a fixture

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/api/schema/", "/api/docs/"])
def test_the_description_is_for_staff_by_token_or_session_unless_made_public(path, settings, redis_server):
    by_token, by_session, member = APIClient(), APIClient(), APIClient()
    by_token.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(StaffFactory())}")
    by_session.force_login(StaffFactory())
    member.force_login(UserFactory())

    assert by_token.get(path).status_code == 200
    assert by_session.get(path).status_code == 200
    assert member.get(path).status_code == 403
    assert APIClient().get("/api/schema/").status_code == 401
    sent = APIClient().get("/api/docs/")
    assert (sent.status_code, sent["Location"]) == (302, "/admin/login/?next=/api/docs/")
    settings.API_DOCS_PUBLIC = True
    assert APIClient().get(path).status_code == 200


@pytest.mark.parametrize("path", ["schema", "docs"])
def test_the_description_is_there_without_and_with_a_last_slash(api, path):
    assert api.get(f"/api/{path}").status_code == 200
    assert api.get(f"/api/{path}/").status_code == 200
