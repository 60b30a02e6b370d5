"""A tenant's keys, on their own pages and on the tenant's."""

from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from tenants.models import ApiKey
from tests.factories import (
    ApiKeyFactory,
    TenantFactory,
)

pytestmark = pytest.mark.django_db

LIST = "admin:tenants_tenant_changelist"


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
