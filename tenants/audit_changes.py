"""What counts as a change in the audit trail: a different value, not another way to write the same one.

The library compares strings. So a form that sends 200 for the stored 200.000000000 would look like a changed budget.
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
    """Whether two of the library's strings stand for the same value of a field.

    Lists (models, percents, addresses) count as sets, and times are compared to the second, as forms have them.
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
    """`changes` without those that keep the value."""
    fields = {field.name: field for field in model._meta.concrete_fields}
    return {
        name: change
        for name, change in changes.items()
        if name not in fields or isinstance(change, dict) or not same(fields[name], *change)
    }


def compare_values() -> None:
    """Patch the library to keep only real changes, since it has no setting for how it compares."""
    receivers.model_instance_diff = _difference


def _difference(old: Model | None, new: Model | None, **options: Any) -> dict[str, Any] | None:
    found = diff.model_instance_diff(old, new, **options)
    if old is None or new is None or not found:
        return dict(found) if found else None
    return real_changes(type(new), found) or None
