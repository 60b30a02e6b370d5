"""The control API through its door."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group
from rest_framework.test import APIClient

from billing.models import UsageRecord
from gateway_project.api.tenants import KeySerializer, TenantSerializer
from tenants.keys import revoke_key
from tenants.models import ApiKey, Tenant
from tenants.operators import rotate_token
from tests.factories import (
    ApiKeyFactory,
    ModelFactory,
    ModelPriceFactory,
    StaffFactory,
    TenantFactory,
    TierFactory,
    UsageRecordFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(redis_server):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(StaffFactory())}")
    return client


def a_tenant(**values):
    return {"slug": "acme", "name": "Acme", "tier": TierFactory().name, **values}


def test_without_a_staff_token_nothing_is_told(api):
    stranger = APIClient()
    assert stranger.get("/api/tenants/").status_code == 401
    stranger.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(UserFactory())}")
    assert stranger.get("/api/tenants/").status_code == 403


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
    ("change", "field"),
    [
        ({"tier": "none"}, "tier"),
        ({"slug": "No Slug"}, "slug"),
        ({"monthly_budget_usd": "-1"}, "monthly_budget_usd"),
        ({"monthly_budget_usd": "99999999"}, "monthly_budget_usd"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"allowed_models": ["none"]}, "allowed_models"),
        ({"max_request_per_minute": 5}, "max_request_per_minute"),
        ({"billing_day": 32}, "billing_day"),
    ],
)
def test_a_wrong_field_is_named(api, change, field):
    answer = api.post("/api/tenants/", a_tenant(**change), format="json")
    assert answer.status_code == 400
    assert field in answer.json()


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"default_model": "dear"}, "default_model", "add it there, or choose"),
        ({"allowed_models": ["dear"]}, "allowed_models", "keep it, or send another default_model"),
        ({"allowed_models": ["dear"], "default_model": "plain"}, "default_model", "is not one of"),
        ({"downgrade_release_percent": 71}, "downgrade_release_percent", "give 70 or less"),
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
        assert "to end a key now, revoke it" in answer.json()["expires_at"][0]
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


def test_a_price_is_superseded_never_edited(api):
    price = ModelPriceFactory()
    assert api.patch(f"/api/prices/{price.pk}/", {"input_usd": "1"}, format="json").status_code == 405
    made = api.post(
        "/api/prices/",
        {
            "model": price.model.name,
            "input_usd": "4",
            "output_usd": "20",
            "effective_from": "2030-01-01T00:00:00Z",
        },
        format="json",
    )
    assert made.status_code == 201, made.json()


def test_usage_comes_in_cursor_pages_with_every_field(api):
    tenant = TenantFactory(slug="acme")
    for _ in range(3):
        UsageRecordFactory(tenant=tenant)
    UsageRecordFactory()

    page = api.get("/api/usage", {"tenant": "acme", "page_size": 2}).json()

    assert len(page["results"]) == 2
    assert page["results"][0]["tenant"] == "acme"
    assert len(api.get(page["next"]).json()["results"]) == 1


def test_usage_is_filtered_by_time(api):
    UsageRecordFactory()
    future = datetime(2040, 1, 1, tzinfo=UTC).isoformat()
    assert api.get("/api/usage", {"since": future}).json()["results"] == []
    assert len(api.get("/api/usage", {"until": future}).json()["results"]) == 1
    assert api.get("/api/usage", {"since": "yesterday"}).status_code == 400


def test_usage_csv_has_a_header_and_defuses_formulas(api):
    record = UsageRecordFactory(end_user="=cmd()")

    lines = b"".join(api.get("/api/usage.csv").streaming_content).decode().splitlines()

    assert lines[0].startswith("request_id,created_at,tenant,key,end_user")
    assert str(record.request_id) in lines[1]
    assert ",'=cmd()," in lines[1]
    assert UsageRecord.objects.count() == len(lines) - 1


def test_the_schema_describes_it(api):
    assert b"/api/tenants/{slug}/" in api.get("/api/schema/").content


@pytest.mark.parametrize("path", ["/api/schema/", "/api/docs/"])
def test_the_description_is_for_staff_by_token_or_session_unless_made_public(path, settings, redis_server):
    by_token, by_session, member = APIClient(), APIClient(), APIClient()
    by_token.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(StaffFactory())}")
    by_session.force_login(StaffFactory())
    member.force_login(UserFactory())

    assert by_token.get(path).status_code == 200
    assert by_session.get(path).status_code == 200
    assert member.get(path).status_code == 403
    assert APIClient().get("/api/schema/").status_code == 401
    sent = APIClient().get("/api/docs/")
    assert (sent.status_code, sent["Location"]) == (302, "/admin/login/?next=/api/docs/")
    settings.API_DOCS_PUBLIC = True
    assert APIClient().get(path).status_code == 200


def test_an_address_without_its_last_slash_is_the_same(api):
    ModelFactory(name="claude-x")
    body = {"model": "claude-x", "input_usd": "3", "output_usd": "15"}
    assert api.post("/api/prices", body, format="json").status_code == 201
    assert len(api.get("/api/prices").json()["results"]) == 1
    assert "/api/prices/" in api.get("/api/schema/?format=json").content.decode()


def test_thresholds_addresses_and_margin_are_set_by_the_api(api):
    TenantFactory(slug="acme")
    given = {"alert_percents": [50, 95], "alert_emails": ["ops@acme.example"], "margin_percent": "12.5"}

    shown = api.patch("/api/tenants/acme/", given, format="json").json()

    assert (shown["alert_percents"], shown["alert_emails"]) == ([50, 95], ["ops@acme.example"])
    assert shown["margin_percent"] == "12.500"
    for wrong in ({"alert_percents": [0]}, {"alert_emails": ["nobody"]}, {"margin_percent": "-101"}):
        assert api.patch("/api/tenants/acme/", wrong, format="json").status_code == 400


@pytest.mark.parametrize("path", ["schema", "docs"])
def test_the_description_is_there_without_and_with_a_last_slash(api, path):
    assert api.get(f"/api/{path}").status_code == 200
    assert api.get(f"/api/{path}/").status_code == 200


def test_what_is_in_use_is_not_deleted_and_the_answer_says_by_what(api):
    tenant = TenantFactory()
    price = ModelPriceFactory()

    tier = api.delete(f"/api/tiers/{tenant.tier.name}/")
    model = api.delete(f"/api/models/{price.model.name}/")

    assert (tier.status_code, model.status_code) == (409, 409)
    assert "tenants" in tier.json()["detail"]
    assert "model prices" in model.json()["detail"]


def test_what_the_tables_refuse_is_the_callers_fault(api):
    ModelFactory(name="m")

    answer = api.patch("/api/models/m/", {"downgrade_to": "m"}, format="json")

    assert answer.status_code == 400
    assert "another" in answer.json()["detail"][0]


@pytest.mark.parametrize(
    "query", ["key=%C2%B2", "model=%00", "tenant=%00", "end_user=%00", "status=%00", "tag=a%00=b"]
)
@pytest.mark.parametrize("path", ["/api/usage/", "/api/usage.csv"])
def test_a_filter_that_nothing_can_be_is_refused(api, path, query):
    assert api.get(f"{path}?{query}").status_code == 400


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


def test_the_token_of_an_operator_who_was_given_a_role_instead_opens_nothing(redis_server):
    user = UserFactory(is_staff=True)
    user.groups.add(Group.objects.get(name="Support"))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {rotate_token(user)}")
    tenant = TenantFactory()

    assert client.delete(f"/api/tenants/{tenant.slug}/").status_code == 403
    assert client.get("/api/prices/").status_code == 403


def test_a_key_remembers_who_made_it(api):
    TenantFactory(slug="acme")

    made = api.post("/api/tenants/acme/keys/", {"name": "k"}, format="json").json()
    turned = api.post(f"/api/tenants/acme/keys/{made['id']}/rotate/", format="json").json()

    assert all(key.created_by for key in ApiKey.objects.filter(pk__in=[made["id"], turned["id"]]))


def test_exports_come_in_pages(api):
    b"".join(api.get("/api/usage.csv").streaming_content)

    shown = api.get("/api/exports/").json()

    assert (shown["count"], shown["results"][0]["status"]) == (1, "complete")
