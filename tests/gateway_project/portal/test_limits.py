"""The portal's limits: how close the tenant came, and what was refused."""

import pytest
from django.urls import reverse
from django.utils import timezone

from billing.models import (
    DailyVerdict,
)
from tenants.models import Role
from tests.factories import (
    UsageRecordFactory,
)
from tests.gateway_project.portal.test_access import acme as acme  # a fixture
from tests.gateway_project.portal.test_access import as_role as as_role  # a fixture

pytestmark = pytest.mark.django_db


def test_refusals_are_counted_for_the_tenant(as_role, acme):
    DailyVerdict.objects.create(
        tenant=acme["tenant"], day=timezone.now().date(), code="rate_limited", requests=12
    )
    page = as_role(Role.VIEWER).get(reverse("portal:limits", args=["acme"])).content.decode()
    assert "<code>rate_limited</code></small></span> <b>12</b>" in page


def test_limits_show_how_close_the_tenant_came(as_role, acme):
    for _ in range(2):
        UsageRecordFactory(tenant=acme["tenant"], end_user="busy")
    lines = {
        line.name: line
        for line in as_role(Role.VIEWER).get(reverse("portal:limits", args=["acme"])).context["lines"]
    }
    assert lines["Requests per minute per end user"].peak.startswith(("1 (", "2 ("))
    assert lines["Requests per minute"].peak.endswith(" (last 24 h)")
