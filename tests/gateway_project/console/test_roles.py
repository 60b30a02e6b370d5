import pytest
from django.contrib.auth.models import Group, Permission
from django.urls import reverse

from tests.factories import (
    AdjustmentFactory,
    ApiKeyFactory,
    ModelPriceFactory,
    StaffFactory,
    TenantFactory,
    UsageRecordFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

# What a role gets (200) or is refused (403), page by page.
PAGES = {
    "tenants_tenant_changelist": {"Operator": 200, "Finance": 200, "Support": 200, "Owner": 200},
    "tenants_tenant_add": {"Operator": 200, "Finance": 403, "Support": 403, "Owner": 200},
    "tenants_apikey_changelist": {"Operator": 200, "Finance": 403, "Support": 403, "Owner": 200},
    "tenants_apikey_add": {"Operator": 200, "Finance": 403, "Support": 403, "Owner": 200},
    "tenants_invitation_add": {"Operator": 200, "Finance": 403, "Support": 403, "Owner": 200},
    "billing_modelprice_changelist": {"Operator": 200, "Finance": 200, "Support": 403, "Owner": 200},
    "billing_modelprice_add": {"Operator": 403, "Finance": 200, "Support": 403, "Owner": 200},
    "billing_adjustment_add": {"Operator": 403, "Finance": 200, "Support": 403, "Owner": 200},
    "billing_prepaidbalance_changelist": {"Operator": 200, "Finance": 200, "Support": 200, "Owner": 200},
    "billing_billcheck_changelist": {"Operator": 200, "Finance": 200, "Support": 403, "Owner": 200},
    "billing_upstreamusage_add": {"Operator": 403, "Finance": 200, "Support": 403, "Owner": 200},
    "billing_usagerecord_changelist": {"Operator": 200, "Finance": 200, "Support": 200, "Owner": 200},
    "billing_usageexport_add": {"Operator": 200, "Finance": 200, "Support": 403, "Owner": 200},
    "routing_upstream_changelist": {"Operator": 403, "Finance": 403, "Support": 403, "Owner": 200},
    "billing_statement_changelist": {"Operator": 200, "Finance": 200, "Support": 200, "Owner": 200},
    "billing_webhookendpoint_add": {"Operator": 200, "Finance": 403, "Support": 403, "Owner": 200},
    "auth_user_changelist": {"Operator": 403, "Finance": 403, "Support": 403, "Owner": 200},
    "auth_group_changelist": {"Operator": 403, "Finance": 403, "Support": 403, "Owner": 200},
    "auditlog_logentry_changelist": {"Operator": 200, "Finance": 200, "Support": 403, "Owner": 200},
}
CASES = [(page, role, status) for page, roles in PAGES.items() for role, status in roles.items()]


@pytest.mark.parametrize(("page", "role", "status"), CASES)
def test_a_role_gets_its_pages_and_is_refused_the_others(as_role, page, role, status):
    assert as_role(role).get(reverse(f"admin:{page}")).status_code == status


@pytest.mark.parametrize("role", ["Finance", "Support"])
def test_whoever_may_not_see_keys_sees_none_on_the_tenants_page(as_role, role):
    key = ApiKeyFactory(name="production key")

    page = as_role(role).get(reverse("admin:tenants_tenant_change", args=[key.tenant_id]))

    assert page.status_code == 200
    assert key.prefix not in page.content.decode()
    assert "production key" not in page.content.decode()


def test_support_changes_no_tenant_by_hand_made_request(as_role):
    tenant = TenantFactory(name="Before")

    response = as_role("Support").post(
        reverse("admin:tenants_tenant_change", args=[tenant.pk]), {"name": "After"}
    )

    tenant.refresh_from_db()
    assert response.status_code == 403
    assert tenant.name == "Before"


@pytest.mark.parametrize("action", ["rotate", "revoke"])
def test_finance_touches_no_key_by_hand_made_request(as_role, action):
    key = ApiKeyFactory()

    response = as_role("Finance").post(
        reverse(f"admin:tenants_apikey_{action}", args=[key.pk]), {"overlap": 0}
    )

    key.refresh_from_db()
    assert response.status_code == 403
    assert key.state == "live"


def test_support_suspends_nobody(as_role):
    tenant = TenantFactory()

    as_role("Support").post(
        reverse("admin:tenants_tenant_changelist"), {"action": "suspend", "_selected_action": [tenant.pk]}
    )

    tenant.refresh_from_db()
    assert tenant.status == "active"


@pytest.mark.parametrize("role", ["Operator", "Finance", "Support", "Owner"])
@pytest.mark.parametrize(
    ("factory", "name"),
    [
        (UsageRecordFactory, "billing_usagerecord"),
        (ModelPriceFactory, "billing_modelprice"),
        (AdjustmentFactory, "billing_adjustment"),
        (ApiKeyFactory, "tenants_apikey"),
        (TenantFactory, "tenants_tenant"),
    ],
)
def test_no_role_deletes_what_the_books_need(as_role, role, factory, name):
    row = factory()

    assert (
        as_role(role).post(reverse(f"admin:{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    )


def test_an_owner_changes_no_superuser(as_role):
    superuser = StaffFactory()

    page = as_role("Owner").post(
        reverse("admin:auth_user_change", args=[superuser.pk]), {"username": "taken over"}
    )

    assert page.status_code == 403


def test_an_owner_makes_no_superuser(as_role):
    user = UserFactory()
    fields = {
        "username": user.username,
        "is_active": "on",
        "is_staff": "on",
        "is_superuser": "on",
        "groups": [],
    }

    as_role("Owner").post(reverse("admin:auth_user_change", args=[user.pk]), fields)

    user.refresh_from_db()
    assert user.is_staff
    assert not user.is_superuser


def test_the_roles_exist():
    assert set(Group.objects.values_list("name", flat=True)) == {"Operator", "Finance", "Support", "Owner"}


def test_a_role_is_set_in_a_table_and_keeps_what_the_table_does_not_show(staff):
    role = Group.objects.get(name="Support")
    view, hidden = (
        Permission.objects.get(codename="view_tenant"),
        Permission.objects.get(codename="view_session"),
    )
    role.permissions.add(hidden)
    address = reverse("admin:auth_group_change", args=[role.pk])

    assert f'value="{view.pk}" aria-label="Tenant: view" checked' in staff.get(address).content.decode()

    change = Permission.objects.get(codename="change_tenant")
    staff.post(address, {"name": "Support", "permissions": [view.pk, change.pk]})

    assert set(role.permissions.all()) == {view, change, hidden}
