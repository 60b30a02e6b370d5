"""The portal's quickstart: snippets that work as they are copied."""

import pytest

from tenants.models import Role
from tests.factories import MembershipFactory, ModelFactory, TenantFactory

pytestmark = pytest.mark.django_db


def shown(client, *models):
    member = MembershipFactory(tenant=TenantFactory(slug="acme", models=models), role=Role.VIEWER)
    client.force_login(member.user)
    return client.get("/portal/t/acme/quickstart/").content.decode()


def test_it_names_a_model_that_the_tenant_may_use(client, settings):
    settings.PUBLIC_URL = "https://gateway.example.com"

    page = shown(client, ModelFactory(name="a-disabled-one", enabled=False), ModelFactory(name="b-model"))

    assert "b-model" in page
    assert "a-disabled-one" not in page
    assert "https://gateway.example.com/v1" in page


def test_without_a_model_it_leaves_the_choice_to_the_gateway(client):
    assert "auto" in shown(client)
