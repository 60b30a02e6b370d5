"""Invitations: whom the link reaches, what it proves, and how it ends."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.db.models import F
from django.urls import reverse

from tenants.models import Invitation, Membership, Role, VerifiedEmail
from tenants.people.invitations import invite
from tests.factories import MembershipFactory, StaffFactory, TenantFactory, UserFactory

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
LINK = re.compile(r"/portal/join/[\w-]+/")


def invites(browser, email="ada@example.com", role="viewer", slug="acme"):
    return browser.post(f"/portal/t/{slug}/people/", {"email": email, "role": role}, follow=True)


def mailed_link(number=-1):
    found = LINK.search(str(mail.outbox[number].body))
    assert found
    return found[0]


def row(email="ada@example.com"):
    return Invitation.objects.get(email=email)


def test_the_inviting_customer_never_sees_the_link(log_in, owner):
    page = invites(log_in(owner.user)).content.decode()

    assert "emailed an invitation to ada@example.com" in page
    assert not LINK.search(page)
    assert mail.outbox[0].to == ["ada@example.com"]


def test_without_mail_staff_hand_the_link_over_and_the_customer_does_not(log_in, owner, settings):
    settings.EMAIL_HOST = ""
    page = invites(log_in(owner.user)).content.decode()
    assert not LINK.search(page)
    assert "ask your provider for the link" in page
    assert not mail.outbox

    console = log_in(StaffFactory())
    shown = console.post(reverse("admin:tenants_invitation_new_link", args=[row().pk]))

    link = LINK.search(shown.content.decode())
    assert link
    assert "no-store" in shown.headers["Cache-Control"]
    assert log_in().post(link[0], {"password": PASSWORD}).url == "/portal/t/acme/"
    assert not VerifiedEmail.objects.exists()  # nobody has shown that they read ada's mail


@pytest.mark.django_db(transaction=True)
def test_with_mail_staff_do_not_see_the_link_either(log_in, owner):
    invites(log_in(owner.user))
    old = mailed_link()

    page = log_in(StaffFactory()).post(
        reverse("admin:tenants_invitation_new_link", args=[row().pk]), follow=True
    )

    assert not LINK.search(page.content.decode())
    assert mailed_link() != old
    assert log_in().get(old).status_code == 404
    assert log_in().get(mailed_link()).status_code == 200


def test_an_email_that_fails_is_said_and_sent_again(log_in, owner, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1  # nobody listens
    browser = log_in(owner.user)
    page = invites(browser).content.decode()
    assert "the email was not sent: the mail server did not accept it" in page
    assert row().emailed_at is None

    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    browser.post(reverse("portal:invitation-resend", args=["acme", row().pk]))

    assert row().emailed_at is not None
    assert log_in().get(mailed_link()).status_code == 200


def test_it_is_withdrawn_and_its_link_is_dead(log_in, owner):
    browser = log_in(owner.user)
    invites(browser)
    link = mailed_link()

    page = browser.post(reverse("portal:invitation-withdraw", args=["acme", row().pk]), follow=True)

    assert "has been withdrawn" in page.content.decode()
    for method in (log_in().get, log_in().post):
        dead = method(link, {"password": PASSWORD})
        assert dead.status_code == 404
        assert "This invitation is not valid" in dead.content.decode()
    assert not User.objects.filter(username="ada@example.com").exists()


def test_resending_kills_the_link_of_before_and_begins_another_week(log_in, owner):
    browser = log_in(owner.user)
    invites(browser)
    Invitation.objects.update(expires_at=F("expires_at") - timedelta(days=30))
    old = mailed_link()
    assert log_in().get(old).status_code == 404
    assert "expired" in browser.get("/portal/t/acme/people/").content.decode()

    browser.post(reverse("portal:invitation-resend", args=["acme", row().pk]))

    assert log_in().get(old).status_code == 404
    assert log_in().get(mailed_link()).status_code == 200


def test_open_ones_are_listed_with_who_and_when(log_in, owner):
    invites(log_in(owner.user))
    invite(
        tenant=owner.tenant,
        email="bob@example.com",
        role="viewer",
        invited_by=StaffFactory(username="eve-of-staff"),
    )

    page = log_in(MembershipFactory(tenant=owner.tenant, role=Role.VIEWER).user).get("/portal/t/acme/people/")

    text = page.content.decode()
    for said in ("ada@example.com", owner.user.username, "bob@example.com", "Your provider"):
        assert said in text
    assert "eve-of-staff" not in text
    assert "Withdraw" not in text


def removed_by_another_owner(log_in, owner):
    other = Membership.objects.filter(tenant=owner.tenant, role=Role.OWNER).exclude(pk=owner.pk)[0]
    log_in(other.user).post(reverse("portal:person-remove", args=["acme", owner.pk]))


def removed_by_staff(log_in, owner):
    log_in(StaffFactory()).post(reverse("admin:tenants_membership_delete", args=[owner.pk]), {"post": "yes"})


def removed_by_staff_with_others(log_in, owner):
    log_in(StaffFactory()).post(
        reverse("admin:tenants_membership_changelist"),
        {"action": "delete_selected", "_selected_action": [owner.pk], "post": "yes"},
    )


def demoted_by_staff(log_in, owner):
    log_in(StaffFactory()).post(
        reverse("admin:tenants_membership_change", args=[owner.pk]), {"role": "developer"}
    )


def made_inactive_by_staff(log_in, owner):
    user = owner.user
    log_in(StaffFactory()).post(
        reverse("admin:auth_user_change", args=[user.pk]), {"username": user.username, "email": user.email}
    )
    user.refresh_from_db()
    assert not user.is_active


def demoted_by_an_invitation(log_in, owner):
    _, token = invite(tenant=owner.tenant, email=owner.user.email, role="viewer", invited_by=None)
    log_in(owner.user).post(reverse("portal:join", args=[token]))


ENDS = [
    removed_by_another_owner,
    removed_by_staff,
    removed_by_staff_with_others,
    demoted_by_staff,
    made_inactive_by_staff,
    demoted_by_an_invitation,
]


@pytest.mark.parametrize("end", ENDS)
def test_who_is_not_an_owner_any_more_has_invited_nobody(log_in, owner, end):
    invites(log_in(owner.user), email="second-self@example.com", role="owner")
    link = mailed_link()

    end(log_in, owner)

    assert log_in().post(link, {"password": PASSWORD}).status_code == 404
    assert not Invitation.objects.filter(email="second-self@example.com").exists()
    assert not User.objects.filter(username="second-self@example.com").exists()


def test_a_demotion_that_went_past_every_page_counts_all_the_same(log_in, owner):
    invites(log_in(owner.user), role="owner")
    Membership.objects.filter(pk=owner.pk).update(role=Role.DEVELOPER)

    assert log_in().post(mailed_link(), {"password": PASSWORD}).status_code == 404


def test_the_removed_do_not_come_back_by_an_invitation_to_them(log_in, owner):
    leaver = MembershipFactory(tenant=owner.tenant, user=UserFactory(email="leaver@example.com"))
    invites(log_in(owner.user), email="leaver@example.com")
    link = mailed_link()

    log_in(owner.user).post(reverse("portal:person-remove", args=["acme", leaver.pk]))

    assert log_in(leaver.user).post(link).status_code == 404
    assert not Membership.objects.filter(user=leaver.user).exists()


def test_an_invitation_of_another_tenant_outlives_a_removal(log_in, owner):
    elsewhere = MembershipFactory(user=owner.user, tenant=TenantFactory(slug="other"), role=Role.OWNER)
    invites(log_in(owner.user), slug=elsewhere.tenant.slug)

    removed_by_another_owner(log_in, owner)

    assert log_in().get(mailed_link()).status_code == 200


def test_the_link_starts_with_the_public_address_whatever_the_host_says(log_in, owner, settings):
    settings.PUBLIC_URL = "https://gateway.example.com"
    settings.ALLOWED_HOSTS = ["*"]

    log_in(owner.user).post(
        "/portal/t/acme/people/",
        {"email": "ada@example.com", "role": "viewer"},
        headers={"host": "evil.example:6666"},
    )

    assert "https://gateway.example.com/portal/join/" in str(mail.outbox[0].body)
    assert "evil" not in str(mail.outbox[0].body)


@pytest.mark.parametrize(
    "email", ["", "nobody", "a" * 160 + "@example.com", "a@b\r\nBcc: c@example.com", "a@exa\0mple.com"]
)
def test_what_is_not_an_address_is_refused(log_in, owner, email):
    answer = invites(log_in(owner.user), email=email)

    assert answer.status_code == 200
    assert not Invitation.objects.exists()
    assert not mail.outbox


def test_a_tenants_name_makes_no_header(log_in, owner):
    owner.tenant.name = "Acme\nBcc: all@example.com"
    owner.tenant.save()

    invites(log_in(owner.user))

    assert mail.outbox[0].subject == "Your invitation to Acme Bcc: all@example.com"
