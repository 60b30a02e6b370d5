import json
from decimal import Decimal
from io import StringIO

import pytest
from django.apps import apps
from django.contrib.auth import authenticate, get_user_model
from django.core.management import call_command
from django.forms.models import model_to_dict
from django.http import HttpRequest
from rest_framework.test import APIClient

from billing.demo.tenants import OPUS, SONNET, seed_demo
from billing.models import ModelPrice
from routing.models import Model
from tenants.keys import digest_of
from tenants.models import ApiKey, Tenant, Tier, TierRoute
from tenants.people.operators import find_token

pytestmark = pytest.mark.django_db


def everything() -> dict[str, list[dict]]:
    """Every row of our tables."""
    return {
        model._meta.label: [
            model_to_dict(row) | {"pk": row.pk} for row in model._default_manager.order_by("pk")
        ]
        for label in ("routing", "tenants", "billing")
        for model in apps.get_app_config(label).get_models()
    }


def test_the_demo_is_the_documented_one():
    seed_demo()

    acme, startup = Tenant.objects.get(slug="acme-corp"), Tenant.objects.get(slug="startup-xyz")
    assert {model.name for model in acme.allowed_models.all()} == {SONNET, OPUS}
    assert {model.name for model in startup.allowed_models.all()} == {SONNET}
    assert acme.tier.name == "pro"
    assert acme.max_requests_per_minute == 120
    assert acme.monthly_budget_usd == 500
    assert startup.tier.name == "free"
    assert startup.max_requests_per_minute == 30
    assert startup.monthly_budget_usd == 50


@pytest.mark.parametrize(
    ("tier", "simple", "complex_"),
    [("free", SONNET, SONNET), ("pro", SONNET, OPUS), ("enterprise", SONNET, OPUS)],
)
def test_every_tier_routes_as_documented(tier, simple, complex_):
    seed_demo()

    routes = dict(TierRoute.objects.filter(tier__name=tier).values_list("complexity", "model__name"))
    assert routes == {"simple": simple, "complex": complex_}


@pytest.mark.parametrize(
    ("model", "input_usd", "output_usd"), [(SONNET, 3, 15), (OPUS, 15, 75), ("gpt-4o", Decimal("2.5"), 10)]
)
def test_prices_are_the_documented_ones(model, input_usd, output_usd):
    seed_demo()

    price = ModelPrice.objects.get(model__name=model)
    assert (price.input_usd, price.output_usd) == (input_usd, output_usd)


def test_seeding_twice_changes_nothing():
    seed_demo()
    before = everything()

    seed_demo()

    assert everything() == before


def test_seeding_again_leaves_what_staff_have_changed():
    seed_demo()
    Tier.objects.filter(name="free").update(monthly_budget_usd=1)
    Tenant.objects.get(slug="acme-corp").allowances.filter(model__name=OPUS).delete()
    Model.objects.filter(name=OPUS).update(enabled=False)

    seed_demo()

    assert Tier.objects.get(name="free").monthly_budget_usd == 1
    assert Tenant.objects.get(slug="acme-corp").allowed_models.count() == 1
    assert not Model.objects.get(name=OPUS).enabled


def run(*arguments: str) -> dict[str, str]:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return json.loads(out.getvalue())


def test_demo_keys_are_kept_in_a_private_file_and_taken_from_it(tmp_path):
    file = tmp_path / "keys.json"

    first = run("seed_demo", "--keys-file", str(file))
    second = run("seed_demo", "--keys-file", str(file))

    assert set(first) == {"acme-corp", "startup-xyz"}
    assert second == first == json.loads(file.read_text())
    assert file.stat().st_mode & 0o077 == 0
    assert ApiKey.objects.count() == 2


def test_a_lost_key_file_gets_new_keys_and_the_lost_ones_end(tmp_path):
    file = tmp_path / "keys.json"
    lost = run("seed_demo", "--keys-file", str(file))
    file.unlink()

    found = run("seed_demo", "--keys-file", str(file))

    assert not set(lost.values()) & set(found.values())
    assert {key.state for key in ApiKey.objects.filter(digest__in=map(digest_of, lost.values()))} == {
        "revoked"
    }


def test_an_operator_can_log_in_and_use_the_control_api():
    printed = run("create_operator", "ada")

    user = authenticate(HttpRequest(), username="ada", password=printed["password"])
    assert user
    assert user.is_staff
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {printed['token']}")
    assert client.get("/api/tenants/").status_code == 200
    assert printed["username"] == "ada"


def test_creating_an_operator_again_rotates_the_token():
    first = run("create_operator", "ada")

    second = run("create_operator", "ada")

    assert second["token"] != first["token"]
    assert find_token(first["token"]) is None
    assert find_token(second["token"]) is not None
    assert authenticate(HttpRequest(), username="ada", password=second["password"])
    assert get_user_model().objects.filter(username="ada").count() == 1
