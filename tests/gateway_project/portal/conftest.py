from typing import Any

import pytest
from django.test import Client

from gateway_project.celery import app
from tenants.models import Role
from tests.factories import MembershipFactory, TenantFactory


@pytest.fixture
def log_in():
    """`log_in(user)` answers a browser of that user; `log_in()` one of nobody."""

    def browser(user: Any = None) -> Client:
        client = Client()
        if user is not None:
            client.force_login(user)
        return client

    return browser


@pytest.fixture
def owner(db):
    """An owner of a tenant, `owner.tenant`, that has another one."""
    membership = MembershipFactory(tenant=TenantFactory(slug="acme", name="Acme"), role=Role.OWNER)
    MembershipFactory(tenant=membership.tenant, role=Role.OWNER)
    return membership


@pytest.fixture
def worker_at_once():
    """Tasks run where they are sent from, instead of in a worker that the suite does not have."""
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False
