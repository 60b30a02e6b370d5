import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from gateway_project.ground.redis_keys import tenant_key
from tenants.models import ApiKey, Invitation, Tenant
from tenants.people.verified_emails import has_verified_email, mark_verified
from tenants.spend import forecast
from tests.factories import (
    ApiKeyFactory,
    DailyUsageFactory,
    InvitationFactory,
    ModelFactory,
    TenantFactory,
    TierFactory,
    UsageRecordFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

LIST = "admin:tenants_tenant_changelist"


def form_of(tenant: Tenant, **changes) -> dict[str, object]:
    """What the tenant's page would send."""
    fields = {
        "name": tenant.name,
        "tier": tenant.tier_id,
        "status": tenant.status,
        "budget_mode": tenant.budget_mode,
        "alert_percents": "80,90,100",
        "billing_day": tenant.billing_day,
        "timezone": tenant.timezone,
        "disconnect_policy": tenant.disconnect_policy,
        "models": [model.pk for model in tenant.allowed_models.all()],
        "keys-TOTAL_FORMS": 0,
        "keys-INITIAL_FORMS": 0,
        "memberships-TOTAL_FORMS": 0,
        "memberships-INITIAL_FORMS": 0,
    }
    return fields | changes


def save(client, tenant: Tenant, **changes):
    response = client.post(
        reverse("admin:tenants_tenant_change", args=[tenant.pk]), form_of(tenant, **changes)
    )
    if response.status_code == 200:
        pytest.fail(str(response.context["adminform"].form.errors))
    tenant.refresh_from_db()
    return response


def test_the_list_shows_spend_against_the_own_or_the_tiers_budget(staff):
    tier = TierFactory(monthly_budget_usd=Decimal(200))
    tenant = TenantFactory(tier=tier)
    DailyUsageFactory(tenant=tenant, cost_usd=Decimal(50), period_start=timezone.now().date().replace(day=1))

    page = staff.get(reverse(LIST)).content.decode()

    assert "$50.00 / $200.00" in page
    assert "25%" in page


def test_tenants_near_their_budget_are_filtered(staff):
    near, _ = TenantFactory(monthly_budget_usd=10), TenantFactory(monthly_budget_usd=10)
    DailyUsageFactory(tenant=near, cost_usd=Decimal(8), period_start=timezone.now().date().replace(day=1))

    page = staff.get(reverse(LIST), {"budget": "80"})

    assert [tenant.pk for tenant in page.context["cl"].result_list] == [near.pk]


def test_deleted_tenants_are_out_of_sight_until_asked_for(staff):
    TenantFactory(deleted_at=timezone.now())

    assert not staff.get(reverse(LIST)).context["cl"].result_list
    assert len(staff.get(reverse(LIST), {"deleted": "yes"}).context["cl"].result_list) == 1


def test_models_are_added_and_removed_in_one_picker(staff):
    old, new = ModelFactory(), ModelFactory()
    tenant = TenantFactory(models=[old])

    save(staff, tenant, models=[new.pk])

    assert list(tenant.allowed_models.all()) == [new]


def test_a_default_model_has_to_be_allowed(staff):
    tenant, model = TenantFactory(), ModelFactory()

    page = staff.post(
        reverse("admin:tenants_tenant_change", args=[tenant.pk]), form_of(tenant, default_model=model.pk)
    )

    assert "must be one of the allowed models" in page.content.decode()


@pytest.mark.parametrize("own", [70, None])
def test_a_downgrade_has_to_end_at_or_below_where_it_begins(staff, own):
    tenant = TenantFactory(tier=TierFactory(downgrade_percent=70))
    address = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    threshold = {"downgrade_percent": own} if own else {}

    page = staff.post(address, form_of(tenant, downgrade_release_percent=71, **threshold))
    assert "Downgrades start at 70%" in page.content.decode()

    save(staff, tenant, downgrade_release_percent=70, **threshold)
    assert tenant.downgrade_release_percent == 70


def test_a_tiers_downgrade_has_to_end_at_or_below_where_it_begins(staff):
    tier = TierFactory(downgrade_percent=90)
    fields = {
        "name": tier.name,
        "downgrade_percent": 60,
        "downgrade_release_percent": 61,
        "margin_percent": 0,
    }
    for inline in ("routes", "downgrades"):
        fields |= {f"{inline}-TOTAL_FORMS": 0, f"{inline}-INITIAL_FORMS": 0}

    page = staff.post(reverse("admin:tenants_tier_change", args=[tier.pk]), fields)

    assert "Downgrades start at 60%" in page.content.decode()


def test_a_key_that_would_have_expired_already_is_not_issued(staff):
    fields = {
        "tenant": TenantFactory().pk,
        "name": "production",
        "expires_at_0": "2020-01-01",
        "expires_at_1": "0:00",
    }

    page = staff.post(reverse("admin:tenants_apikey_add"), fields)

    assert "This time has passed" in page.content.decode()
    assert not ApiKey.objects.exists()


def test_an_expired_key_can_be_renamed(staff):
    key = ApiKeyFactory(expires_at=datetime(2020, 1, 1, 12, 30, tzinfo=UTC))
    fields = {"name": "old", "expires_at_0": "2020-01-01", "expires_at_1": "12:30:00"}

    page = staff.post(reverse("admin:tenants_apikey_change", args=[key.pk]), fields)

    assert page.status_code == 302, page.context["adminform"].form.errors
    key.refresh_from_db()
    assert key.name == "old"


def test_an_empty_limit_shows_what_the_tier_gives(staff):
    tenant = TenantFactory(tier=TierFactory(name="gold", max_requests_per_minute=777))

    page = staff.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).content.decode()

    assert 'placeholder="777"' in page
    assert "From tier gold" in page


def test_an_override_shows_what_the_tier_would_give(staff):
    tenant = TenantFactory(tier=TierFactory(name="gold", max_concurrency=5), max_concurrency=9)

    page = staff.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).content.decode()

    assert "Overrides tier gold: 5" in page


def test_a_slug_stays(staff):
    tenant = TenantFactory(slug="acme")

    save(staff, tenant, slug="other")

    assert tenant.slug == "acme"


def act(client, action: str, *tenants: Tenant, **given):
    """Choose an action of the list for these tenants, or answer what it asks."""
    chosen = [tenant.pk for tenant in tenants]
    response = client.post(reverse(LIST), {"action": action, "_selected_action": chosen, **given})
    for tenant in tenants:
        tenant.refresh_from_db()
    return response


def test_suspending_asks_first_and_keeps_the_reason(staff):
    tenant = TenantFactory()

    page = act(staff, "suspend", tenant).content.decode()
    assert "will be refused immediately" in page
    assert tenant.status == "active"

    act(staff, "suspend", tenant, sure="1", reason="Has not paid")
    assert tenant.status == "suspended"
    assert LogEntry.objects.get_for_object(tenant).first().additional_data == {"reason": "Has not paid"}


def test_resuming_is_one_action(staff):
    tenant = TenantFactory(status="suspended")

    act(staff, "resume", tenant)

    assert tenant.status == "active"


def test_suspending_on_the_tenants_page_is_asked_about(staff):
    tenant = TenantFactory()
    address = reverse("admin:tenants_tenant_change", args=[tenant.pk])

    page = staff.post(address, form_of(tenant, status="suspended"))
    assert "all requests are refused immediately" in page.content.decode()

    save(staff, tenant, status="suspended", confirmed="on")
    assert tenant.status == "suspended"


def test_budgets_are_raised_together_for_a_reason(staff):
    own = TenantFactory(monthly_budget_usd=Decimal(100))
    inherits = TenantFactory(tier=TierFactory(monthly_budget_usd=Decimal(30)))
    unlimited = TenantFactory(tier=TierFactory(monthly_budget_usd=None))

    act(staff, "raise_budget", own, sure="1", by_usd="50")  # no reason
    assert own.monthly_budget_usd == 100

    page = act(staff, "raise_budget", own, inherits, unlimited, sure="1", by_usd="50", reason="Black Friday")
    assert (own.monthly_budget_usd, inherits.monthly_budget_usd) == (150, 80)
    assert unlimited.monthly_budget_usd is None
    assert "1 unchanged" in str(next(iter(get_messages(page.wsgi_request))))
    assert LogEntry.objects.get_for_object(own).first().additional_data == {"reason": "Black Friday"}


def test_a_budget_is_raised_no_further_than_the_meter_counts(staff):
    tenant = TenantFactory(monthly_budget_usd=Decimal(100))

    page = act(staff, "raise_budget", tenant, sure="1", by_usd="9000000", reason="A slip")

    assert "less than or equal to 9000000" in page.content.decode()
    assert tenant.monthly_budget_usd == 100


def test_exporting_a_tenants_usage_opens_the_form_with_its_name(staff):
    assert act(staff, "export_usage", TenantFactory(slug="acme")).url.endswith("/add/?tenant=acme")


def test_the_list_shows_what_each_does_now_and_where_its_period_ends(staff, redis_server):
    tenant = TenantFactory(monthly_budget_usd=Decimal(100))
    DailyUsageFactory(tenant=tenant, cost_usd=Decimal(50), period_start=timezone.now().date().replace(day=1))
    now = int(timezone.now().timestamp() * 1_000_000)
    redis_server.zadd(f"{tenant_key(tenant.pk)}:rpm", {"a": now, "b": now - 1, "old": now - 61_000_000})

    page = staff.get(reverse(LIST)).content.decode()

    assert "2/min" in page
    expected = forecast(tenant, spent=Decimal(50), period=timezone.now().date().replace(day=1))
    assert expected is None or "forecast $" in page


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


def test_the_audit_trail_says_who_changed_what_from_what_to_what(staff):
    tenant = TenantFactory(name="Before")

    save(staff, tenant, name="After")

    entry = LogEntry.objects.get_for_object(tenant).first()
    assert entry.changes["name"] == ["Before", "After"]
    assert entry.actor.is_staff


def test_the_audit_trail_is_exported_with_formulas_defused(staff):
    TenantFactory(name="=HYPERLINK(1)")

    page = staff.get(reverse("admin:auditlog_logentry_export"))
    text = b"".join(page.streaming_content).decode()

    assert text.startswith("time,who,from,action,kind,what,field,old,new,reason")
    assert "'=HYPERLINK(1)" in text


def test_an_issued_key_is_shown_once(staff):
    tenant = TenantFactory()

    page = staff.post(reverse("admin:tenants_apikey_add"), {"tenant": tenant.pk, "name": "production"})

    key = ApiKey.objects.get(tenant=tenant)
    assert "no-store" in page.headers["Cache-Control"]
    assert page.context["key"].startswith(key.prefix)
    assert page.context["key"] in page.content.decode()
    again = staff.get(reverse("admin:tenants_apikey_change", args=[key.pk]))
    assert page.context["key"] not in again.content.decode()


def test_a_rotated_key_works_on_for_the_overlap(staff):
    key = ApiKeyFactory()

    page = staff.post(reverse("admin:tenants_apikey_rotate", args=[key.pk]), {"overlap": 24})

    key.refresh_from_db()
    assert page.context["key"] != key.plain
    assert key.replaced_by.state == "live"
    assert timedelta(hours=23) < key.expires_at - timezone.now() <= timedelta(hours=24)


def test_a_key_is_revoked_after_a_question(staff):
    key = ApiKeyFactory()
    address = reverse("admin:tenants_apikey_revoke", args=[key.pk])

    staff.get(address)
    key.refresh_from_db()
    assert key.state == "live"

    assert staff.post(address).url == reverse("admin:tenants_tenant_change", args=[key.tenant_id]) + "#keys"
    key.refresh_from_db()
    assert key.state == "revoked"


def test_a_tenants_keys_are_turned_on_its_page(staff):
    live, gone = ApiKeyFactory(), ApiKeyFactory(revoked_at=timezone.now())

    page = staff.get(reverse("admin:tenants_tenant_change", args=[live.tenant_id])).content.decode()
    assert reverse("admin:tenants_apikey_rotate", args=[live.pk]) in page
    assert f"{reverse('admin:tenants_apikey_add')}?tenant={live.tenant_id}" in page

    page = staff.get(reverse("admin:tenants_tenant_change", args=[gone.tenant_id])).content.decode()
    assert reverse("admin:tenants_apikey_revoke", args=[gone.pk]) not in page


def test_raising_a_budget_needs_a_reason_which_the_trail_keeps(staff):
    tenant = TenantFactory(monthly_budget_usd=Decimal(100))
    address = reverse("admin:tenants_tenant_change", args=[tenant.pk])

    page = staff.post(address, form_of(tenant, monthly_budget_usd="200"))
    assert "Give a reason for raising the budget to $200.00." in page.content.decode()

    save(staff, tenant, monthly_budget_usd="200", reason="Signed the larger contract")
    assert tenant.monthly_budget_usd == 200
    [entry] = LogEntry.objects.get_for_object(tenant).filter(changes__has_key="monthly_budget_usd")[:1]
    assert entry.additional_data == {"reason": "Signed the larger contract"}
    trail = staff.get(reverse("admin:auditlog_logentry_changelist"))
    assert "Signed the larger contract" in trail.content.decode()


def test_a_budget_below_what_is_spent_is_asked_about(staff):
    tenant = TenantFactory(monthly_budget_usd=Decimal(100))
    DailyUsageFactory(tenant=tenant, cost_usd=Decimal(60), period_start=timezone.now().date().replace(day=1))
    address = reverse("admin:tenants_tenant_change", args=[tenant.pk])

    page = staff.post(address, form_of(tenant, monthly_budget_usd="50"))
    assert "every request would be refused" in page.content.decode()

    save(staff, tenant, monthly_budget_usd="50", confirmed="on")
    assert tenant.monthly_budget_usd == 50


def test_removing_a_model_in_use_is_asked_about(staff):
    used, idle = ModelFactory(), ModelFactory()
    tenant = TenantFactory(models=[used, idle])
    DailyUsageFactory(tenant=tenant, model=used.name, requests=1234)
    address = reverse("admin:tenants_tenant_change", args=[tenant.pk])

    save(staff, tenant, models=[used.pk])  # nobody has called the other one

    page = staff.post(address, form_of(tenant, models=[]))
    assert f"{used.name} was called 1,234 times" in page.content.decode()
    assert tenant.allowed_models.count() == 1


def test_a_tenants_page_shows_its_month_and_its_latest_calls(staff):
    tenant = TenantFactory()
    DailyUsageFactory(tenant=tenant, model="gpt-4o", cost_usd=Decimal("12.50"))
    call = UsageRecordFactory(tenant=tenant)

    page = staff.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).content.decode()

    assert "highest $12.50" in page
    assert reverse("admin:billing_usagerecord_change", args=[call.pk]) in page


def test_the_row_is_locked_before_it_is_read_to_be_saved(staff):
    tenant = TenantFactory()

    with CaptureQueriesContext(connection) as queries:
        save(staff, tenant, name="New")

    asked = [query["sql"] for query in queries if 'FROM "tenants_tenant"' in query["sql"]]
    locked = next(n for n, sql in enumerate(asked) if "FOR NO KEY UPDATE" in sql)
    assert f'"tenants_tenant"."id" = {tenant.pk}' in asked[locked + 1]
    assert tenant.name == "New"
