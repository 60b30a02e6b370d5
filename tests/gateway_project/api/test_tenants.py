"""The control API through its door."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from rest_framework.test import APIClient

from gateway_project.api.tenants import KeySerializer, TenantSerializer
from tenants.keys import revoke_key
from tenants.models import ApiKey, Tenant
from tenants.people.operators import rotate_token
from tests.factories import (
    ApiKeyFactory,
    ModelFactory,
    StaffFactory,
    TenantFactory,
    TierFactory,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(redis_server):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(StaffFactory())}")
    return client


def a_tenant(**values):
    return {"slug": "acme", "name": "Acme", "tier": TierFactory().name, **values}


def test_a_tenant_is_made_read_changed_and_deleted(api):
    model = ModelFactory(name="claude-sonnet-4-20250514")
    made = api.post(
        "/api/tenants/", a_tenant(allowed_models=[model.name], monthly_budget_usd="5.00"), format="json"
    )
    assert made.status_code == 201, made.json()
    assert made.json()["allowed_models"] == [model.name]
    assert made.json()["current_spend_usd"] == "0.000000000"
    assert made.json()["budget_remaining_usd"] == "5.000000000"

    changed = api.patch("/api/tenants/acme/", {"status": "suspended", "allowed_models": []}, format="json")
    assert (changed.json()["status"], changed.json()["allowed_models"]) == ("suspended", [])

    assert api.delete("/api/tenants/acme/").status_code == 204
    assert api.get("/api/tenants/acme/").status_code == 404
    assert Tenant.objects.get(slug="acme").deleted_at is not None


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"default_model": "dear"}, "default_model", "Add it there, or choose"),
        ({"allowed_models": ["dear"]}, "allowed_models", "Keep it in allowed_models, or change"),
        ({"allowed_models": ["dear"], "default_model": "plain"}, "default_model", "is not in allowed_models"),
        ({"downgrade_release_percent": 71}, "downgrade_release_percent", "Enter 70 or less"),
        (
            {"downgrade_percent": 50, "downgrade_release_percent": 60},
            "downgrade_release_percent",
            "50 or less",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_refused_and_nothing_is_changed(api, change, field, told):
    plain, _ = ModelFactory(name="plain"), ModelFactory(name="dear")
    TenantFactory(slug="acme", models=[plain], default_model=plain, tier=TierFactory(downgrade_percent=70))
    before = api.get("/api/tenants/acme").json()

    answer = api.patch("/api/tenants/acme", change, format="json")

    assert answer.status_code == 400
    assert told in answer.json()[field][0]
    assert api.get("/api/tenants/acme").json() == before


def test_a_threshold_lowered_below_the_release_is_refused(api):
    tier = TierFactory(downgrade_percent=90, downgrade_release_percent=80)

    answer = api.patch(f"/api/tiers/{tier.name}", {"downgrade_percent": 70}, format="json")

    assert (answer.status_code, list(answer.json())) == (400, ["downgrade_release_percent"])
    tier.refresh_from_db()
    assert tier.downgrade_percent == 90


def test_a_new_tenants_default_has_to_be_among_its_tiers_models_or_its_own(api):
    mine, other = ModelFactory(name="mine"), ModelFactory(name="other")
    tier = TierFactory()
    tier.default_models.add(mine)
    tenant = {"slug": "acme", "name": "Acme", "tier": tier.name}

    refused = api.post("/api/tenants", {**tenant, "default_model": other.name}, format="json")
    assert (refused.status_code, list(refused.json())) == (400, ["default_model"])
    assert not Tenant.objects.exists()

    made = api.post("/api/tenants", {**tenant, "default_model": mine.name}, format="json")
    assert made.json()["allowed_models"] == ["mine"]


def test_what_contradicts_itself_already_can_still_be_suspended(api):
    tenant = TenantFactory(slug="acme", default_model=ModelFactory(), downgrade_percent=50)
    Tenant.objects.filter(pk=tenant.pk).update(downgrade_release_percent=60)

    assert api.patch("/api/tenants/acme", {"status": "suspended"}, format="json").status_code == 200


def test_a_key_that_would_have_expired_already_is_refused(api):
    tenant = TenantFactory(slug="acme")
    key = ApiKeyFactory(tenant=tenant, expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    past = {"name": "main", "expires_at": "2021-01-01T00:00:00Z"}

    made = api.post("/api/tenants/acme/keys", past, format="json")
    changed = api.patch(f"/api/tenants/acme/keys/{key.pk}", past, format="json")
    sent_back = {"name": "renamed", "expires_at": "2020-01-01T00:00:00Z"}

    for answer in (made, changed):
        assert answer.status_code == 400
        assert "To end a key now, revoke it" in answer.json()["expires_at"][0]
    assert api.put(f"/api/tenants/acme/keys/{key.pk}", sent_back, format="json").json()["name"] == "renamed"


def test_a_key_is_shown_once_rotated_and_revoked(api):
    TenantFactory(slug="acme")
    issued = api.post(
        "/api/tenants/acme/keys/", {"name": "main", "max_requests_per_minute": 5}, format="json"
    )
    assert issued.status_code == 201
    assert issued.json()["key"].startswith("tn_")

    [row] = api.get("/api/tenants/acme/keys/").json()["results"]
    assert "key" not in row
    rotated = api.post(f"/api/tenants/acme/keys/{row['id']}/rotate/", {}, format="json")
    assert rotated.status_code == 201
    assert rotated.json()["key"] != issued.json()["key"]
    assert api.delete(f"/api/tenants/acme/keys/{row['id']}/").status_code == 204
    assert ApiKey.objects.get(pk=row["id"]).revoked_at is not None


def test_one_tenants_key_is_not_found_under_another(api):
    TenantFactory(slug="acme")
    TenantFactory(slug="other")
    key = api.post("/api/tenants/acme/keys/", {"name": "main"}, format="json").json()
    assert api.delete(f"/api/tenants/other/keys/{key['id']}/").status_code == 404


def test_thresholds_addresses_and_margin_are_set_by_the_api(api):
    TenantFactory(slug="acme")
    given = {"alert_percents": [50, 95], "alert_emails": ["ops@acme.example"], "margin_percent": "12.5"}

    shown = api.patch("/api/tenants/acme/", given, format="json").json()

    assert (shown["alert_percents"], shown["alert_emails"]) == ([50, 95], ["ops@acme.example"])
    assert shown["margin_percent"] == "12.500"
    for wrong in ({"alert_percents": [0]}, {"alert_emails": ["nobody"]}, {"margin_percent": "-101"}):
        assert api.patch("/api/tenants/acme/", wrong, format="json").status_code == 400


def test_a_change_leaves_what_others_changed_since_the_row_was_read(api):
    read = TenantFactory(slug="acme")
    serializer = TenantSerializer(read, data={"name": "New"}, partial=True)
    serializer.is_valid(raise_exception=True)
    Tenant.objects.filter(pk=read.pk).update(status="suspended", topped_up_usd=50)

    serializer.save()

    now = Tenant.objects.get(pk=read.pk)
    assert (now.name, now.status, now.topped_up_usd) == ("New", "suspended", Decimal(50))


def test_a_key_that_was_revoked_meanwhile_stays_revoked(api):
    read = ApiKeyFactory()
    serializer = KeySerializer(read, data={"name": "New"}, partial=True)
    serializer.is_valid(raise_exception=True)
    revoke_key(api_key=read)

    serializer.save()

    now = ApiKey.objects.get(pk=read.pk)
    assert (now.name, now.state) == ("New", "revoked")


def test_a_slug_stays(api):
    TenantFactory(slug="acme")

    assert api.patch("/api/tenants/acme/", {"slug": "other"}, format="json").status_code == 400
    assert api.patch("/api/tenants/acme/", {"slug": "acme"}, format="json").status_code == 200


def test_a_key_remembers_who_made_it(api):
    TenantFactory(slug="acme")

    made = api.post("/api/tenants/acme/keys/", {"name": "k"}, format="json").json()
    turned = api.post(f"/api/tenants/acme/keys/{made['id']}/rotate/", format="json").json()

    assert all(key.created_by for key in ApiKey.objects.filter(pk__in=[made["id"], turned["id"]]))
