"""How many emails a customer can cause."""

import pytest
from django.core import mail
from django.urls import reverse

from tenants.models import EmailCount, Invitation, Role
from tenants.people.invitations import MOST_FOR_A_TENANT, MOST_FOR_AN_ADDRESS
from tests.factories import MembershipFactory, TenantFactory
from tests.gateway_project.portal.conftest import log_in as log_in  # a fixture
from tests.gateway_project.portal.conftest import owner as owner  # a fixture
from tests.gateway_project.portal.test_people import invites

pytestmark = pytest.mark.django_db


def test_invitations_in_a_loop_end_at_a_limit_and_say_so(log_in, owner):
    browser = log_in(owner.user)

    pages = [invites(browser, email=f"victim{number}@example.com") for number in range(MOST_FOR_A_TENANT + 3)]

    assert len(mail.outbox) == MOST_FOR_A_TENANT
    assert f"Limit reached: {MOST_FOR_A_TENANT} invitations from one organisation per hour. Try again in" in (
        pages[-1].content.decode()
    )


def test_one_address_is_not_flooded_by_inviting_withdrawing_and_resending(log_in, owner):
    browser = log_in(owner.user)
    for _ in range(MOST_FOR_AN_ADDRESS):
        invites(browser, email="Victim@example.com")
        for name in ("resend", "withdraw"):
            for invitation in Invitation.objects.all():
                browser.post(reverse(f"portal:invitation-{name}", args=["acme", invitation.pk]))

    assert len(mail.outbox) == MOST_FOR_AN_ADDRESS
    assert "invitations to one address" in invites(browser, email="victim@EXAMPLE.com").content.decode()


def test_one_tenants_limit_is_not_anothers(log_in, owner):
    other = MembershipFactory(tenant=TenantFactory(slug="other"), role=Role.OWNER)
    for _ in range(MOST_FOR_AN_ADDRESS + 1):
        invites(log_in(owner.user))

    invites(log_in(other.user), slug="other")

    assert len(mail.outbox) == MOST_FOR_AN_ADDRESS + 1
    assert not EmailCount.objects.filter(scope__contains="@").exists()
