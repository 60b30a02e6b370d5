"""The portal's usage, requests and receipts."""

from datetime import date, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from billing.models import (
    DailyTagUsage,
    LedgerArchive,
    UsageExport,
    UsageRecord,
)
from tenants.models import Role, Tenant
from tests.factories import (
    DailyUsageFactory,
    UsageRecordFactory,
)
from tests.gateway_project.portal.test_access import acme as acme  # a fixture
from tests.gateway_project.portal.test_access import as_role as as_role  # a fixture
from tests.gateway_project.portal.test_access import furnished

pytestmark = pytest.mark.django_db


def test_the_csv_has_the_tenants_rows_alone_and_not_what_its_provider_pays(as_role, acme):
    furnished("other")
    text = b"".join(as_role(Role.VIEWER).get(reverse("portal:usage-csv", args=["acme"])).streaming_content)
    assert str(acme["request_id"]) in text.decode()
    assert "other" not in text.decode()
    assert "upstream_cost" not in text.decode()
    assert UsageExport.objects.get().filters["tenant"] == "acme"


def test_usage_is_grouped_by_a_tag(as_role, acme):
    today = timezone.now().date()
    DailyTagUsage.objects.create(
        tenant=acme["tenant"], day=today, name="team", value="search", requests=3, cost_usd=Decimal(7)
    )
    page = as_role(Role.VIEWER).get(reverse("portal:usage", args=["acme"]), {"tag": "team"}).content.decode()
    assert "By tag team" in page
    assert "search" in page
    assert "$7.00" in page


def test_usage_is_drawn_by_model_with_a_bar_for_each_day(as_role, acme):
    today = timezone.now().date()
    for back, model, cost in ((0, "gpt-4o", 3), (1, "gpt-4o", 4), (1, "claude-opus-4-20250514", 9)):
        day = today - timedelta(days=back)
        DailyUsageFactory(tenant=acme["tenant"], model=model, day=day, cost_usd=Decimal(cost))
    page = as_role(Role.VIEWER).get(
        reverse("portal:usage", args=["acme"]), {"since": today - timedelta(days=1)}
    )
    drawn = {line["name"]: line["values"] for line in page.context["chart"]["series"]}
    assert drawn["gpt-4o"] == [4, 3]
    assert drawn["claude-opus-4-20250514"] == [9, 0]


def test_requests_are_filtered_and_found_by_their_id(as_role, acme):
    other = UsageRecordFactory(tenant=acme["tenant"], end_user="somebody else", status="cancelled")
    viewer, url = as_role(Role.VIEWER), reverse("portal:requests", args=["acme"])
    assert [row.pk for row in viewer.get(url, {"status": "cancelled"}).context["rows"]] == [other.pk]
    assert [row.end_user for row in viewer.get(url, {"end_user": "acme user"}).context["rows"]] == [
        "acme user"
    ]
    assert viewer.get(url, {"id": str(other.pk)}).url == reverse("portal:receipt", args=["acme", other.pk])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"id": "abc"}, "is not a request ID"),
        ({"id": "req_011CSHoEeqs5C35K2UUqR7Fy"}, "is not a request ID"),
        ({"id": "01a228bc-fd4c-7061-9dea-4e8865d48eb5"}, "You have no request with the ID"),
        ({"id": "' OR 1=1 --", "status": "ok"}, "is not a request ID"),
        ({"status": "fine"}, "There is no status"),
        ({"key": "mine"}, "There is no key"),
        ({"key": "²"}, "There is no key"),
        ({"key": "9" * 30}, "There is no key"),
        ({"before": "yesterday"}, "is not a time"),
        ({"before": "0001-01-01"}, "no requests at"),
    ],
)
def test_a_request_that_is_asked_for_in_vain_is_not_answered_by_all_of_them(as_role, acme, asked, told):
    page = as_role(Role.VIEWER).get(reverse("portal:requests", args=["acme"]), asked)

    assert page.context["rows"] == []
    assert told in page.content.decode()
    assert "acme user" not in strip_tags(page.content.decode())


def test_another_tenants_request_id_is_as_unknown_as_none(as_role, acme):
    others = UsageRecordFactory()

    page = as_role(Role.VIEWER).get(reverse("portal:requests", args=["acme"]), {"id": str(others.pk)})

    assert "You have no request with the ID" in page.content.decode()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"since": "10/01/2026"}, "is not a date"),
        ({"until": "2026-02-30"}, "is not a date"),
        ({"until": "9999-12-31"}, "no usage on"),
        ({"since": "2020-01-01", "until": "2026-01-01"}, "At most 366 days"),
        ({"show": "everything"}, "There is no chart of"),
        ({"tag": "x" * 130}, "is not a tag"),
        ({"tag": "=acme"}, "is not a tag"),
        ({"tag": "no-such-tag"}, "has the tag"),
    ],
)
def test_usage_that_cannot_be_shown_as_asked_says_so(as_role, acme, asked, told):
    page = as_role(Role.VIEWER).get(reverse("portal:usage", args=["acme"]), asked)

    assert told in page.content.decode()


def test_a_file_is_not_made_of_other_days_than_were_asked_for(as_role, acme):
    answer = as_role(Role.VIEWER).get(
        reverse("portal:usage-csv", args=["acme"]), {"since": "10/01/2026"}, follow=True
    )

    assert "is not a date" in answer.content.decode()
    assert not UsageExport.objects.exists()


def test_times_are_the_tenants_own(as_role, acme):
    Tenant.objects.filter(slug="acme").update(timezone="Asia/Kathmandu")
    row = UsageRecord.objects.get(tenant=acme["tenant"])
    page = as_role(Role.VIEWER).get(reverse("portal:requests", args=["acme"])).content.decode()
    assert f"{row.created_at.astimezone(ZoneInfo('Asia/Kathmandu')):%Y-%m-%d %H:%M:%S}" in page


def test_usage_that_is_archived_is_told_of_instead_of_a_file(as_role):
    LedgerArchive.objects.create(
        month=date(2020, 1, 1), file="x", rows=1, cost_usd=1, digest="", file_digest=""
    )

    answer = as_role(Role.VIEWER).get(
        "/portal/t/acme/usage.csv?since=2020-01-01&until=2020-01-31", follow=True
    )

    assert answer.status_code == 200
    assert "are archived" in answer.content.decode()
