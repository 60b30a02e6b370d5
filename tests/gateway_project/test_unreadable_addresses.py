"""What no page can look anything up by is answered, and is never a fault of ours."""

import pytest
from django.contrib import admin
from django.urls import reverse

from tests.factories import StaffFactory

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
ENDLESS = "1" * 5_000
RUBBISH = ("\0", ENDLESS, "\u2603")
MODELS = [
    model for model in admin.site._registry if model._meta.app_label in ("tenants", "billing", "routing")
]


@pytest.fixture
def staff(client):
    client.force_login(StaffFactory())
    client.raise_request_exception = False
    return client


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_no_list_fails_at_what_is_searched_and_filtered_by(staff, model):
    page = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    listed = getattr(staff.get(page), "context", None)
    filters = listed["cl"].filter_specs if listed and "cl" in listed else ()
    names = {"q", "p", "o", *(name for each in filters for name in each.expected_parameters())}

    failed = [
        (name, value[:10])
        for name in sorted(names)
        for value in RUBBISH
        if staff.get(page, {name: value}, follow=True).status_code >= 500
    ]

    assert failed == []


@pytest.mark.parametrize("pk", [ENDLESS, "9" * 30, "%00", "x"], ids=["endless", "large", "null", "text"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_a_row_that_cannot_be_is_not_found(staff, model, pk):
    page = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")

    assert staff.get(f"{page}{pk}/change/", follow=True).status_code < 500


@pytest.mark.parametrize("old", [ENDLESS, "\u00b2", "9" * 30])
def test_superseding_a_price_that_cannot_be_starts_from_an_empty_form(staff, old):
    assert staff.get(reverse("admin:billing_modelprice_add"), {"supersedes": old}).status_code == 200


def test_a_null_character_is_told_of(client):
    answer = client.get("/portal/login/?next=%00")

    assert answer.status_code == 400
    assert "This address is not valid" in answer.content.decode()
