"""What goes into a JSON column is often an amount or a moment."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.apps import apps
from django.db.models import JSONField

OURS = ("routing", "tenants", "billing")
FIELDS = [
    field for app in OURS for model in apps.get_app_config(app).get_models() for field in model._meta.fields
    if isinstance(field, JSONField)
]  # fmt: skip


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_every_json_column_takes_amounts_and_moments(field):
    written = json.dumps(
        {"usd": Decimal("0.000000001"), "at": datetime(2026, 5, 1, tzinfo=UTC)}, cls=field.encoder
    )

    read = json.loads(written)
    assert Decimal(read["usd"]) == Decimal("1E-9")
    assert datetime.fromisoformat(read["at"]) == datetime(2026, 5, 1, tzinfo=UTC)
