"""Questions to the ledger that must stay quick at ten million rows: by index, in order, of few partitions.

The tables of a test are small, where reading everything is cheapest; so that is switched off, and what is left
shows whether there is another way.
"""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from billing.models import DailyTotal, DailyUsage, UsageRecord
from gateway_project.console import dashboard
from tenants.people.operators import rotate_token
from tests.factories import ModelFactory, TenantFactory, UsageRecordFactory

pytestmark = pytest.mark.django_db
LEDGER = reverse("admin:billing_usagerecord_changelist")


def plan(sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        cursor.execute(f"EXPLAIN {sql}", parameters)
        return "\n".join(line for (line,) in cursor.fetchall())


def asked(client, address, table='FROM "billing_usagerecord"'):
    """The question an address asks of the table, explained."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200, address
    [sql] = [each["sql"] for each in captured if table in each["sql"]]
    return plan(sql)


def in_order_by(index, plan):
    """Every partition by this index and not sorted: the newest thirty are the first thirty."""
    scans = [line for line in plan.splitlines() if "Scan" in line and " on billing_usagerecord" in line]
    by_another = [line for line in scans if f"{index}_idx" not in line]
    return scans and not by_another and "  Sort  (" not in plan


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("", "created_at"),
        ("p=20", "created_at"),
        ("status__exact=ok", "created_at"),
        ("tenant__id__exact={tenant}", "tenant_id_created_at"),
        ("api_key__id__exact={key}", "api_key_id_created_at"),
        ("model={model}", "model_created_at"),
        ("status__exact=upstream_error", "status_created_at"),
        ("estimated__exact=1", "created_at"),
        ("end_user=nobody&tenant__id__exact={tenant}", "tenant_id_end_user_created_at"),
    ],
)
def test_the_ledgers_page_reads_each_of_its_filters_by_index_newest_first(staff, query, index):
    row = UsageRecordFactory(model=ModelFactory().name)
    address = f"{LEDGER}?{query.format(tenant=row.tenant_id, key=row.api_key_id, model=row.model)}"
    found = asked(staff, address)
    assert in_order_by(index, found), found


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("", "created_at"),
        ("tenant={tenant}", "tenant_id_created_at"),
        ("key={key}", "api_key_id_created_at"),
        ("model=gpt-4o", "model_created_at"),
        ("status=orphaned", "status_created_at"),
    ],
)
def test_the_api_does_too(staff, query, index):
    row = UsageRecordFactory()
    operator = User.objects.get(pk=staff.session["_auth_user_id"])
    staff.defaults["HTTP_AUTHORIZATION"] = f"Token {rotate_token(operator)}"
    found = asked(staff, f"/api/usage/?{query.format(tenant=row.tenant.slug, key=row.api_key_id)}")
    assert in_order_by(index, found), found


def partitions_of(plan):
    return {
        word for word in plan.replace(" ", "\n").split("\n") if word.startswith("billing_usagerecord_y")
    } - {word for word in plan.split() if word.endswith("_idx")}


def test_a_days_rows_are_read_from_one_partition(staff):
    day = timezone.now().replace(day=10).date()
    query = (
        f"created_at_from_0={day}&created_at_from_1=00:00:00&created_at_to_0={day}&created_at_to_1=23:00:00"
    )
    found = asked(staff, f"{LEDGER}?{query}")
    assert {name.split("_")[2] for name in partitions_of(found)} == {f"y{day:%Y}m{day:%m}"}


def test_a_request_id_is_looked_up_in_the_partition_of_its_time(staff):
    row = UsageRecordFactory()
    found = asked(staff, f"{LEDGER}?q={row.pk}")
    assert found.count("Index Scan using billing_usagerecord") == 1


def test_roll_ups_are_read_by_index(staff):
    today = timezone.now().date()
    tenant = TenantFactory()
    for rows, index in (
        (DailyTotal.objects.filter(day__gte=today - timedelta(days=30)), "billing_dailytotal"),
        (DailyUsage.objects.filter(tenant=tenant, period_start=today.replace(day=1)), "billing_dailyusage"),
        (DailyUsage.objects.filter(status="orphaned").order_by("-day"), "billing_dailyusage_faults"),
    ):
        found = plan(*rows.order_by(*rows.query.order_by).query.sql_with_params())
        assert f"using {index}" in found or f"on {index}" in found
        assert "Seq Scan" not in found


def test_the_dashboard_asks_nothing_of_the_ledger(staff):
    with CaptureQueriesContext(connection) as captured:
        staff.get(reverse("admin:index"))
    assert dashboard.DAYS == 30
    assert not [each for each in captured if '"billing_usagerecord"' in each["sql"]]


def test_late_rows_are_found_by_when_they_were_recorded():
    rows = UsageRecord.objects.filter(recorded_at__gt=timezone.now())
    assert "recorded_at_idx" in plan(*rows.order_by().query.sql_with_params())
