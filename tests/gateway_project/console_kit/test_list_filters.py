"""A filter that cannot be read says so above an empty list; it is never ignored."""

from datetime import UTC, datetime

import pytest
from django.urls import reverse

from tests.factories import (
    DailyUsageFactory,
    DailyVerdictFactory,
    ModelFactory,
    TenantFactory,
    UsageRecordFactory,
)

pytestmark = pytest.mark.django_db
LEDGER = "admin:billing_usagerecord_changelist"
NOTHING_LISTED = "A filter is not valid, so nothing is listed."


@pytest.fixture(autouse=True)
def rows():
    UsageRecordFactory()
    DailyUsageFactory()
    DailyVerdictFactory()


@pytest.mark.parametrize(
    ("page", "asked", "told"),
    [
        (LEDGER, {"tag": "feature"}, "is not a tag. Write it as name=value."),
        (LEDGER, {"created_at_from_0": "10/01/2026", "created_at_from_1": "00:00"}, "is not a date"),
        (LEDGER, {"created_at_from_0": "yesterday"}, "is not a date"),
        (LEDGER, {"created_at_to_0": "2026-02-30"}, "is not a date"),
        (LEDGER, {"created_at_to_0": "9999-12-31"}, "is out of range"),
        (LEDGER, {"created_at_to_0": "2026-02-03", "created_at_to_1": "noon"}, "is not a time"),
        (LEDGER, {"created_at_from_1": "12:00"}, "Enter a date for this time"),
        (LEDGER, {"tenant__id__exact": "acme"}, ""),
        (LEDGER, {"api_key__id__exact": "x"}, ""),
        (LEDGER, {"estimated__exact": "perhaps"}, ""),
        (LEDGER, {"nonsense": "1"}, ""),
        ("admin:billing_dailyusage_changelist", {"day_from": "soon"}, "is not a date"),
        (
            "admin:billing_dailyverdict_changelist",
            {"shadow": "maybe"},
            "is not one of the choices for “outcome”",
        ),
        ("admin:tenants_tenant_changelist", {"budget": "lots"}, "is not one of the choices"),
        ("admin:tenants_tenant_changelist", {"deleted": "no"}, "is not one of the choices"),
        ("admin:auditlog_logentry_changelist", {"kind": "nothing.here"}, "is not one of the choices"),
        ("admin:auditlog_logentry_changelist", {"tenant": "nobody"}, "There is no tenant"),
        ("admin:auditlog_logentry_changelist", {"timestamp_from_0": "x"}, "is not a date"),
    ],
)
def test_what_cannot_be_read_lists_nothing_and_says_why(staff, page, asked, told):
    shown = staff.get(reverse(page), asked, follow=True)

    text = shown.content.decode()
    assert list(shown.context["cl"].result_list) == []
    assert told in text
    assert NOTHING_LISTED in text
    assert 'href="?"' in text  # the way to all of them


def test_an_unread_filter_makes_no_file_of_everything(staff):
    shown = staff.get(reverse("admin:auditlog_logentry_export"), {"timestamp_from_0": "x"}, follow=True)

    assert NOTHING_LISTED in shown.content.decode()


def test_what_is_no_request_id_is_said_to_be_none(staff):
    shown = staff.get(reverse(LEDGER), {"q": "req_011CS"})

    assert list(shown.context["cl"].result_list) == []
    assert "is not a request ID" in shown.content.decode()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [1, 2, 3]),
        ({"created_at_from_0": "2026-03-02"}, [2, 3]),
        ({"created_at_to_0": "2026-03-02"}, [1, 2]),
        ({"created_at_from_0": "2026-03-02", "created_at_to_0": "2026-03-02"}, [2]),
        ({"created_at_from_0": "2026-03-02", "created_at_from_1": "13:00"}, [3]),
        ({"created_at_to_0": "2026-03-02", "created_at_to_1": "11:59:59"}, [1]),
    ],
)
def test_a_day_without_a_time_is_all_of_that_day(staff, asked, found):
    tenant = TenantFactory()
    for day in (1, 2, 3):
        UsageRecordFactory(tenant=tenant, at=datetime(2026, 3, day, 12, tzinfo=UTC))

    listed = staff.get(reverse(LEDGER), {"tenant__id__exact": tenant.pk, **asked}).context["cl"].result_list

    assert sorted(row.created_at.day for row in listed) == found


def test_filters_that_can_be_read_are_applied(staff):
    ModelFactory(name="opus")
    UsageRecordFactory(model="opus", tags={"team": "a"})

    for asked in ({"model": "opus"}, {"tag": "team=a"}, {"estimated__exact": "0", "model": "opus"}):
        listed = staff.get(reverse(LEDGER), asked).context["cl"].result_list
        assert [row.model for row in listed] == ["opus"]
