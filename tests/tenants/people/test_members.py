"""Who leaves a tenant, and what ends with that."""

import pytest
from django.urls import reverse

from tenants.models import Membership, Role
from tenants.people.invitations import invite
from tests.factories import MembershipFactory, TenantFactory
from tests.gateway_project.portal.conftest import log_in as log_in  # a fixture

pytestmark = pytest.mark.django_db


def test_the_last_owner_stays(log_in):
    last = MembershipFactory(tenant=TenantFactory(slug="acme"), role=Role.OWNER)

    page = log_in(last.user).post(reverse("portal:person-remove", args=["acme", last.pk]), follow=True)

    assert "The last owner cannot be removed" in page.content.decode()
    assert Membership.objects.filter(pk=last.pk).exists()


def test_the_last_owner_stays_owner_whatever_the_invitation_says(log_in):
    last = MembershipFactory(tenant=TenantFactory(slug="acme"), role=Role.OWNER)
    _, token = invite(tenant=last.tenant, email=last.user.email, role=Role.VIEWER, invited_by=last.user)

    log_in(last.user).post(reverse("portal:join", args=[token]))

    last.refresh_from_db()
    assert last.role == Role.OWNER
