"""Every registered page answers, shows data, and asks the database a bounded number of questions."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests import factories

pytestmark = pytest.mark.django_db

OURS = ("routing", "tenants", "billing")
FACTORIES: dict[Any, Any] = {
    factory._meta.model: factory
    for name, factory in vars(factories).items()
    if name.endswith("Factory") and name != "DjangoModelFactory"
}
PAGES = [model for model in admin.site._registry if model._meta.app_label in OURS]
INLINE_ONLY = {
    "tierroute",
    "tierdowngrade",
    "allowedmodel",
    "webhookattempt",
}  # shown on another model's page
NOBODYS = {"secondfactor", "verifiedemail", "emailcount"}  # seeds, and what other pages say in words
SUMS = {"periodusage", "dailytotal"}  # shown as numbers of the tenants' list and the dashboard


def url(model, page: str, *args) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def named(model) -> str:
    return model._meta.label_lower


def queries_of(client, address: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        response = client.get(address)
    assert response.status_code == 200, address
    assert len(response.content) < 300_000
    return len(captured)


def test_every_model_is_registered():
    missing = {
        model._meta.model_name
        for model in apps.get_models()
        if model._meta.app_label in OURS
        and model not in admin.site._registry
        and not model._meta.auto_created
    }

    assert missing == INLINE_ONLY | NOBODYS | SUMS


@pytest.mark.parametrize("model", PAGES, ids=named)
def test_a_list_answers_without_a_query_for_each_row(staff, model):
    FACTORIES[model]()
    first = queries_of(staff, url(model, "changelist"))

    for _ in range(8):
        FACTORIES[model]()

    assert queries_of(staff, url(model, "changelist")) <= first + 1
    assert first < 15


@pytest.mark.parametrize("model", PAGES, ids=named)
def test_a_row_opens(staff, model):
    row = FACTORIES[model]()

    assert queries_of(staff, url(model, "change", row.pk)) < 15


@pytest.mark.parametrize("model", PAGES, ids=named)
def test_adding_is_offered_exactly_where_it_is_allowed(staff, model):
    page = admin.site._registry[model]
    response = staff.get(url(model, "add"))

    assert response.status_code == (200 if page.has_add_permission(response.wsgi_request) else 403)


@pytest.mark.parametrize("model", PAGES, ids=named)
def test_a_search_answers(staff, model):
    FACTORIES[model]()

    assert staff.get(url(model, "changelist"), {"q": "acme"}).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "UsageRecord",
        "DailyUsage",
        "Statement",
        "BudgetAlert",
        "DriftReport",
        "LedgerBatch",
        "ModelPrice",
        "Adjustment",
    ],
)
def test_money_and_ledger_are_shown_and_never_edited(staff, name):
    model = apps.get_model("billing", name)
    row = FACTORIES[model]()

    page = staff.get(url(model, "change", row.pk))

    assert 'name="_save"' not in page.content.decode()
    assert staff.post(url(model, "change", row.pk), {"cost_usd": "0"}).status_code == 403


def test_no_list_edits_anything_in_place():
    assert not [page for page in admin.site._registry.values() if page.list_editable]


def test_the_ledger_is_never_counted(staff):
    factories.UsageRecordFactory()

    with CaptureQueriesContext(connection) as captured:
        staff.get(reverse("admin:billing_usagerecord_changelist"))

    assert not [
        query["sql"] for query in captured if "COUNT(" in query["sql"] and "usagerecord" in query["sql"]
    ]


@pytest.mark.parametrize("order", ["2", "-4", "5.6", "9"])
def test_the_ledger_is_sorted_by_nothing_but_its_index(staff, order):
    factories.UsageRecordFactory()

    with CaptureQueriesContext(connection) as captured:
        staff.get(reverse("admin:billing_usagerecord_changelist"), {"o": order})

    [listed] = [query["sql"] for query in captured if 'FROM "billing_usagerecord"' in query["sql"]]
    assert 'ORDER BY "billing_usagerecord"."created_at" DESC' in listed


def test_a_ledger_row_is_found_by_its_request_id_in_one_partition(staff):
    row = factories.UsageRecordFactory()
    factories.UsageRecordFactory(end_user="somebody else")

    page = staff.get(reverse("admin:billing_usagerecord_changelist"), {"q": str(row.request_id)})

    assert [found.pk for found in page.context["cl"].result_list] == [row.pk]


@pytest.mark.parametrize("page", ["changelist", "change"])
def test_of_an_api_token_no_page_shows_more_than_its_start(staff, page):
    row = factories.OperatorTokenFactory()
    text = staff.get(url(type(row), page, *([row.pk] if page == "change" else []))).content.decode()

    assert row.prefix in text
    assert row.digest not in text


def test_a_prices_page_shows_its_models_prices_over_time(staff):
    model, now = factories.ModelFactory(), timezone.now()
    old, current, coming = (
        factories.ModelPriceFactory(model=model, input_usd=usd, effective_from=now + timedelta(days=days))
        for usd, days in ((Decimal(2), -60), (Decimal(3), -30), (Decimal(4), 30))
    )

    page = staff.get(url(type(current), "change", current.pk))

    steps = {step.price.pk: (step.state, step.change) for step in page.context["timeline"]}
    assert steps == {
        coming.pk: ("scheduled", Decimal("33.3")),
        current.pk: ("in force", Decimal("50.0")),
        old.pk: ("superseded", None),
    }


def test_an_empty_list_says_what_will_fill_it_and_a_filtered_one_how_to_see_all(staff):
    address = reverse("admin:billing_statement_changelist")

    assert "when its period ends" in staff.get(address).content.decode()
    assert "No matching results" in staff.get(address, {"q": "nobody"}).content.decode()


def test_a_delivery_shows_its_payload_and_is_sent_again_by_a_button(staff):
    delivery = factories.WebhookDeliveryFactory(status="failed", attempts=9, payload={"type": "webhook.test"})
    page = staff.get(url(type(delivery), "change", delivery.pk)).content.decode()
    assert "&quot;type&quot;: &quot;webhook.test&quot;" in page

    again = reverse("admin:billing_webhookdelivery_redeliver_this", args=[delivery.pk])
    assert "with the same ID" in staff.get(again).content.decode()
    delivery.refresh_from_db()
    assert delivery.status == "failed"

    staff.post(again)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("pending", 0)
