"""Who may use the control API."""

import pytest
from django.contrib.auth.models import Group
from rest_framework.test import APIClient

from tenants.people.operators import rotate_token
from tests.factories import (
    TenantFactory,
    UserFactory,
)
from tests.gateway_project.api.test_tenants import api as api  # a fixture

pytestmark = pytest.mark.django_db


def test_without_a_staff_token_nothing_is_told(api):
    stranger = APIClient()
    assert stranger.get("/api/tenants/").status_code == 401
    stranger.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(UserFactory())}")
    assert stranger.get("/api/tenants/").status_code == 403


def test_the_token_of_an_operator_who_was_given_a_role_instead_opens_nothing(redis_server):
    user = UserFactory(is_staff=True)
    user.groups.add(Group.objects.get(name="Support"))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(user)}")
    tenant = TenantFactory()

    assert client.delete(f"/api/tenants/{tenant.slug}/").status_code == 403
    assert client.get("/api/prices/").status_code == 403
