"""Finance takes usage out of the console."""

import csv
import io
from datetime import UTC, datetime

import pytest
from django.urls import reverse

from billing.exports.export import DEFAULT_COLUMNS
from billing.models import UsageExport
from tests.factories import TenantFactory, UsageRecordFactory

pytestmark = pytest.mark.django_db
FORM = {"format": "csv", "columns": list(DEFAULT_COLUMNS)}


def test_finance_exports_a_tenants_days_in_its_own_zone(as_role):
    tenant = TenantFactory(slug="acme", timezone="Asia/Kolkata")
    inside = UsageRecordFactory(tenant=tenant, at=datetime(2026, 7, 1, 19, 0, tzinfo=UTC))
    UsageRecordFactory(tenant=tenant, at=datetime(2026, 7, 1, 18, 0, tzinfo=UTC))
    finance = as_role("Finance")

    answer = finance.post(
        reverse("admin:billing_usageexport_add"),
        {**FORM, "tenant": "acme", "since": "2026-07-02", "until": "2026-07-02"},
    )

    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert [row["request_id"] for row in rows] == [str(inside.request_id)]
    assert rows[0]["created_at"] == "2026-07-02T00:30:00.000000+05:30"
    log = UsageExport.objects.get()
    assert (log.rows, log.status) == (1, "complete")
    assert log.created_by is not None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tenant": "nobody"}, "There is no tenant"),
        ({"since": "2026-07-02", "until": "2026-07-01"}, "before the first"),
        ({"tag": "x"}, "name=value"),
    ],
)
def test_a_form_that_makes_no_sense_says_so_and_exports_nothing(as_role, change, told):
    answer = as_role("Finance").post(reverse("admin:billing_usageexport_add"), {**FORM, **change})
    assert told in answer.content.decode()
    assert not UsageExport.objects.exists()


def test_the_ledgers_page_has_the_button_for_those_who_may(as_role):
    button = reverse("admin:billing_usageexport_add")
    page = reverse("admin:billing_usagerecord_changelist")
    assert button in as_role("Finance").get(page).content.decode()
    assert f'href="{button}"' not in as_role("Support").get(page).content.decode()
