"""The audit trail tells what changed, by names, and whose it is; and nothing that did not change."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from auditlog.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from tenants.models import AllowedModel, Tenant
from tests.factories import (
    ApiKeyFactory,
    ModelFactory,
    TenantFactory,
    TierFactory,
    WebhookEndpointFactory,
)
from tests.gateway_project.conftest import staff as staff  # a fixture

pytestmark = pytest.mark.django_db
TRAIL = "admin:auditlog_logentry_changelist"


def updates_of(row):
    return LogEntry.objects.get_for_object(row).filter(action=LogEntry.Action.UPDATE)


def save_unchanged(client, row, **changes):
    """Open the row's page and save what it shows, with `changes`, as a browser would."""
    meta = row._meta
    address = reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk])
    page = client.get(address)
    fields: dict[str, object] = {}
    forms = [page.context["adminform"].form]
    for inline in page.context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    for bound in (bound for form in forms for bound in form):
        value = bound.value()
        if hasattr(bound.field.widget, "widgets"):
            parts = bound.field.widget.decompress(value)
            names = bound.field.widget.widgets_names
            fields |= {
                f"{bound.html_name}{name}": bound.field.widget.widgets[n].format_value(parts[n]) or ""
                for n, name in enumerate(names)
            }
        elif isinstance(value, bool):
            fields |= {bound.html_name: "on"} if value else {}
        elif isinstance(value, list | tuple):
            fields[bound.html_name] = [getattr(each, "pk", each) for each in value]
        else:
            shown = None if value is None else bound.field.widget.format_value(value)
            fields[bound.html_name] = "" if shown is None else shown
    answer = client.post(address, {**fields, **changes})
    if answer.status_code == 200:
        pytest.fail(str(answer.context["errors"]))


def test_a_save_without_a_change_is_no_entry(staff):
    tenant = TenantFactory(
        monthly_budget_usd=Decimal("200"), margin_percent=Decimal("0"), alert_percents=[100, 80],
        alert_emails=["b@example.com", "a@example.com"], models=[ModelFactory()],
    )  # fmt: skip
    key = ApiKeyFactory(tenant=tenant, expires_at=timezone.now() + timedelta(days=3, microseconds=7))
    tier = TierFactory(monthly_budget_usd=Decimal("100.5"))

    for row in (tenant, key, tier):
        save_unchanged(staff, row)
        assert not updates_of(row).exists(), updates_of(row).first().changes


def test_only_what_changed_is_in_the_entry(staff):
    tenant = TenantFactory(monthly_budget_usd=Decimal("200"), margin_percent=Decimal("5"))

    save_unchanged(staff, tenant, monthly_budget_usd="150")

    assert set(updates_of(tenant).get().changes) == {"monthly_budget_usd"}


@pytest.mark.parametrize(
    ("field", "old", "new", "changes"),
    [
        ("monthly_budget_usd", Decimal("200"), Decimal("200.000000000"), False),
        ("monthly_budget_usd", Decimal("200"), Decimal("2E+2"), False),
        ("monthly_budget_usd", Decimal("0.000000001"), Decimal("0.000000002"), True),
        ("monthly_budget_usd", None, Decimal("0"), True),
        ("monthly_budget_usd", Decimal("0"), None, True),
        ("alert_percents", [80, 100], [100, 80], False),
        ("alert_percents", [80, 100], [80], True),
        ("alert_percents", [80, 80], [80], True),
        ("alert_emails", ["a@x.de", "b@x.de"], ("b@x.de", "a@x.de"), False),
        ("deleted_at", datetime(2026, 1, 2, 3, 4, 5, 678, UTC), datetime(2026, 1, 2, 3, 4, 5, 0, UTC), False),
        ("deleted_at", datetime(2026, 1, 2, 3, 4, 5, 0, UTC), datetime(2026, 1, 2, 3, 4, 6, 0, UTC), True),
        ("note", "", " ", True),
        ("name", "1.0", "1.00", True),
        ("billing_day", 1, "1", False),
    ],
)
def test_a_change_is_one_of_the_value_and_not_of_how_it_is_written(field, old, new, changes):
    tenant = TenantFactory(**{field: old})

    setattr(tenant, field, new)
    tenant.save()

    assert updates_of(tenant).exists() == changes


def test_an_old_entry_about_nothing_says_so(staff):
    tenant = TenantFactory()
    LogEntry.objects.log_create(
        tenant,
        action=LogEntry.Action.UPDATE,
        changes={
            "monthly_budget_usd": ["200.000000000", "200"],
            "note": ["None", ""],
            "margin_percent": ["0.000", "5"],
        },
    )
    LogEntry.objects.log_create(
        tenant, action=LogEntry.Action.UPDATE, changes={"monthly_budget_usd": ["200.000000000", "200"]}
    )

    page = strip_tags(staff.get(reverse(TRAIL)).content.decode())

    assert "200.000000000" not in page
    assert "Margin (%) 0 → 5" in page
    assert "Saved without changes" in page


def test_rows_are_called_by_their_names_and_fields_by_their_labels(staff):
    old, new = TierFactory(name="free"), TierFactory(name="enterprise")
    tenant = TenantFactory(tier=old, name="Söhne")
    tenant.tier, tenant.status = new, "suspended"
    tenant.save()

    page = strip_tags(staff.get(reverse(TRAIL)).content.decode())

    assert "Tier free → enterprise" in page
    assert "Status Active → Suspended" in page


def test_a_row_that_is_gone_is_said_to_be(staff):
    gone = TierFactory(name="gone")
    tenant = TenantFactory(tier=gone)
    tenant.tier = TierFactory(name="stays")
    tenant.save()
    pk = gone.pk
    gone.delete()

    assert f"Tier tier {pk} (deleted) → stays" in strip_tags(staff.get(reverse(TRAIL)).content.decode())


@pytest.fixture
def sohne():
    """A tenant with one of everything that is kept a trail of, some of it gone by now."""
    tenant = TenantFactory(name="Söhne & Co", slug="soehne")
    ApiKeyFactory(tenant=tenant)
    WebhookEndpointFactory(tenant=tenant, events=[])
    AllowedModel.objects.create(tenant=tenant, model=ModelFactory(name="opus")).delete()
    return tenant


@pytest.mark.parametrize("question", [{"q": "Söhne"}, {"q": "soehne"}, {"tenant": "soehne"}])
def test_all_about_a_tenant_is_found_by_its_name(staff, sohne, question):
    other = ApiKeyFactory(name="another's")

    found = staff.get(reverse(TRAIL), question).context["cl"].result_list

    kinds = {(entry.content_type.model, entry.get_action_display()) for entry in found}
    assert kinds >= {
        ("tenant", "create"), ("apikey", "create"), ("webhookendpoint", "create"), ("allowedmodel", "delete"),
    }  # fmt: skip
    assert str(other) not in [entry.object_repr for entry in found]


def test_each_entry_links_to_its_tenant(staff, sohne):
    page = staff.get(reverse(TRAIL), {"tenant": "soehne"}).content.decode()

    link = f'<a href="{reverse("admin:tenants_tenant_change", args=[sohne.pk])}">Söhne &amp; Co</a>'
    assert page.count(link) >= 4


def test_an_unknown_tenant_has_no_entries(staff, sohne):
    page = staff.get(reverse(TRAIL), {"tenant": "nobody"}, follow=True)

    assert not page.context["cl"].result_list


def test_names_cost_no_query_for_each_entry(staff):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            staff.get(reverse(TRAIL))
        return len(captured)

    def edit():
        tenant = TenantFactory()
        tenant.tier = TierFactory()
        tenant.save()
        ApiKeyFactory(tenant=tenant)

    edit()
    first = queries()
    for _ in range(5):
        edit()

    assert queries() <= first


def test_the_file_has_names_and_no_change_that_is_none(staff, sohne):
    sohne.tier = TierFactory(name="enterprise")
    sohne.save()
    LogEntry.objects.log_create(
        sohne, action=LogEntry.Action.UPDATE, changes={"monthly_budget_usd": ["200.000000000", "200"]}
    )

    text = b"".join(staff.get(reverse("admin:auditlog_logentry_export")).streaming_content).decode()

    assert text.startswith("time,who,from,action,kind,what,field,old,new,reason,tenant\r\n")
    assert ",soehne,tier," in text
    assert ",enterprise,,soehne\r\n" in text
    assert "200.000000000" not in text


def test_a_page_of_one_entry_shows_the_same(staff, sohne):
    entry = LogEntry.objects.get_for_object(sohne).first()

    page = staff.get(reverse("admin:auditlog_logentry_change", args=[entry.pk])).content.decode()

    assert "Söhne &amp; Co" in page
    assert Tenant.objects.get(pk=sohne.pk).tier.name in page
