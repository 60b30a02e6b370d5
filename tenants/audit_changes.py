"""What counts as a change in the audit trail: values that differ, not ways to write one value.

The library compares texts, so that a form which sends 200 for the stored 200.000000000 makes a budget change that
nobody made.
"""

import ast
import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from auditlog import diff, receivers
from django.contrib.postgres.fields import ArrayField
from django.db.models import DateTimeField, DecimalField, Field, FloatField, JSONField, Model

EMPTY = (None, "None", "", "[]", "{}")


def same(field: "Field[Any, Any]", old: Any, new: Any) -> bool:
    """Whether two of the library's texts for a field's values say one thing.

    Lists are sets here (models, percents, addresses), and forms know no less than a second.
    """
    if old == new or (old in EMPTY and new in EMPTY):
        return True
    if old in EMPTY or new in EMPTY:
        return False
    try:
        return bool(_read(field, old) == _read(field, new))
    except (ValueError, SyntaxError, TypeError, InvalidOperation):
        return False


def _read(field: "Field[Any, Any]", value: Any) -> Any:
    text = str(value)
    if isinstance(field, DecimalField | FloatField):
        return Decimal(text)
    if isinstance(field, DateTimeField):
        return datetime.fromisoformat(text).replace(tzinfo=None, microsecond=0)
    if isinstance(field, JSONField):
        return json.loads(text)
    if isinstance(field, ArrayField):
        return Counter(map(str, ast.literal_eval(text)))
    return text


def real_changes(model: type[Model], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` without those of a value into itself."""
    fields = {field.name: field for field in model._meta.concrete_fields}
    return {
        name: change
        for name, change in changes.items()
        if name not in fields or isinstance(change, dict) or not same(fields[name], *change)
    }


def compare_values() -> None:
    """Have the library keep real changes only: it has no setting for what it compares by."""
    receivers.model_instance_diff = _difference


def _difference(old: Model | None, new: Model | None, **options: Any) -> dict[str, Any] | None:
    found = diff.model_instance_diff(old, new, **options)
    if old is None or new is None or not found:
        return dict(found) if found else None
    return real_changes(type(new), found) or None
