"""A tenant's people: invitations and the accounts behind memberships."""

import re

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.urls import reverse
from django.utils import timezone

from tenants.models import Invitation
from tenants.people.verified_emails import has_verified_email, mark_verified
from tests.factories import (
    InvitationFactory,
    TenantFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

LIST = "admin:tenants_tenant_changelist"


def test_somebody_is_invited_to_a_tenants_portal(staff, django_capture_on_commit_callbacks):
    tenant = TenantFactory()

    with django_capture_on_commit_callbacks(execute=True):
        page = staff.post(
            reverse("admin:tenants_invitation_add"),
            {"tenant": tenant.pk, "email": "ada@example.com", "role": "owner"},
            follow=True,
        )

    assert Invitation.objects.get().emailed_at is not None
    assert "/portal/join/" not in page.content.decode()
    link = re.search(r"https?://[^/]+(/portal/join/\S+)", str(mail.outbox[0].body))
    assert link
    staff.logout()
    assert b"Choose a password" in staff.get(link[1]).content


def test_without_mail_the_link_is_shown_once_to_hand_over(staff, settings):
    settings.EMAIL_HOST = ""

    page = staff.post(
        reverse("admin:tenants_invitation_add"),
        {"tenant": TenantFactory().pk, "email": "ada@example.com", "role": "owner"},
    )

    assert page.context["link"].startswith(f"{settings.PUBLIC_URL}/portal/join/")
    assert "no-store" in page.headers["Cache-Control"]
    assert not mail.outbox


def test_an_invitation_is_withdrawn_by_a_button_and_not_by_a_link(staff):
    invitation = InvitationFactory()
    address = reverse("admin:tenants_invitation_withdraw", args=[invitation.pk])
    staff.get(address)
    assert Invitation.objects.exists()

    assert "has been withdrawn" in staff.post(address, follow=True).content.decode()
    assert not Invitation.objects.exists()
    assert staff.post(address).status_code == 404


def test_an_accepted_invitation_is_neither_withdrawn_nor_renewed(staff):
    invitation = InvitationFactory(accepted_at=timezone.now())
    for name in ("withdraw", "new_link"):
        page = staff.post(reverse(f"admin:tenants_invitation_{name}", args=[invitation.pk]), follow=True)
        assert "already been accepted or withdrawn" in page.content.decode()
    assert Invitation.objects.get().accepted_at == invitation.accepted_at


def test_who_chooses_an_account_sees_whether_its_address_is_verified(staff):
    known, unknown = UserFactory(username="ceo@known.example"), UserFactory(username="ceo@unknown.example")
    mark_verified(known, "CEO@known.example")

    query = {"app_label": "tenants", "model_name": "membership", "field_name": "user", "term": "ceo@"}
    found = staff.get("/admin/autocomplete/", query).json()["results"]

    assert {each["text"] for each in found} == {
        "ceo@known.example · email verified",
        "ceo@unknown.example · email NOT verified",
    }
    page = staff.post(
        reverse("admin:tenants_membership_add"),
        {"tenant": TenantFactory().pk, "user": unknown.pk, "role": "owner"},
        follow=True,
    )
    assert "has not verified this email address" in page.content.decode()


def test_a_verified_address_counts_while_it_is_the_accounts(staff):
    user = UserFactory(email="old@example.com")
    mark_verified(user, "old@example.com")
    accounts = User.objects.annotate(verified=has_verified_email())
    assert accounts.get(pk=user.pk).verified

    user.email = "somebody.else@example.com"
    user.save()

    assert not accounts.get(pk=user.pk).verified
