"""The portal's API keys."""

import re

import pytest
from django.urls import reverse

from tenants.models import ApiKey, Role
from tests.gateway_project.portal.test_access import acme as acme  # a fixture
from tests.gateway_project.portal.test_access import as_role as as_role  # a fixture

pytestmark = pytest.mark.django_db


def test_a_developer_issues_rotates_and_revokes_a_key(as_role, acme):
    developer = as_role(Role.DEVELOPER)
    page = developer.post(reverse("portal:keys", args=["acme"]), {"name": "app"}).content.decode()
    shown = re.search(r"tn_[\w-]{20,}", page)
    assert shown
    key = ApiKey.objects.get(name="app")
    assert shown[0] not in developer.get(reverse("portal:keys", args=["acme"])).content.decode()

    developer.post(reverse("portal:key-rotate", args=["acme", key.pk]))
    key.refresh_from_db()
    assert key.replaced_by is not None
    assert key.state == "live"

    developer.post(reverse("portal:key-revoke", args=["acme", key.pk]))
    key.refresh_from_db()
    assert key.state == "revoked"
