"""The control API's usage: pages, filters and files."""

from datetime import UTC, datetime

import pytest

from billing.models import UsageRecord
from tests.factories import (
    TenantFactory,
    UsageRecordFactory,
)
from tests.gateway_project.api.test_tenants import api as api  # a fixture

pytestmark = pytest.mark.django_db


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


def test_exports_come_in_pages(api):
    b"".join(api.get("/api/usage.csv").streaming_content)

    shown = api.get("/api/exports/").json()

    assert (shown["count"], shown["results"][0]["status"]) == (1, "complete")
