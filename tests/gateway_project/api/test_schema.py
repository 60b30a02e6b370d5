"""The OpenAPI schema of the control API."""

import pytest

from tests.gateway_project.api.test_tenants import api as api  # a fixture

pytestmark = pytest.mark.django_db


def test_the_schema_describes_it(api):
    assert b"/api/tenants/{slug}/" in api.get("/api/schema/").content
