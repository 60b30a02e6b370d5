"""What a new tenant may use when nobody has chosen its models."""

import pytest
from rest_framework.test import APIClient

from tenants.models import Tenant
from tests.factories import (
    StaffFactory,
)
from tests.gateway_project.console.test_first_steps import add, names_of
from tests.gateway_project.console.test_first_steps import tier as tier  # a fixture

pytestmark = pytest.mark.django_db


def in_console(tier):
    from django.test import Client

    client = Client()
    client.force_login(StaffFactory())
    add(client, tier)


def in_the_api(tier):
    client = APIClient()
    client.force_authenticate(StaffFactory())
    made = client.post(
        "/api/tenants/", {"slug": "fresh-fruit", "name": "F", "tier": tier.name}, format="json"
    )
    assert made.status_code == 201, made.content


@pytest.mark.parametrize("make", [in_console, in_the_api])
def test_a_tenant_made_without_models_has_its_tiers(tier, make):
    make(tier)

    assert names_of(Tenant.objects.get(slug="fresh-fruit")) == ["opus", "sonnet"]


def test_an_empty_list_in_the_api_means_none(tier):
    client = APIClient()
    client.force_authenticate(StaffFactory())

    client.post(
        "/api/tenants/", {"slug": "x", "name": "X", "tier": "pro", "allowed_models": []}, format="json"
    )

    assert names_of(Tenant.objects.get(slug="x")) == []
