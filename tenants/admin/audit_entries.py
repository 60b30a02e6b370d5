"""Audit entries in words: fields by their labels, rows by their names, and the tenant they belong to."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib.contenttypes.models import ContentType
from django.contrib.postgres.fields import ArrayField
from django.db.models import DateTimeField, DecimalField, Field, ForeignKey, Model, Q
from django.utils.text import capfirst

from gateway_project.console_kit import formatters
from tenants.audit_changes import EMPTY, real_changes
from tenants.models import Tenant


class FieldChange(msgspec.Struct, frozen=True):
    """One field of an entry, in words."""

    column: str
    label: str
    old: str
    new: str


class Known:
    """The names and tenants that a page of entries refers to, read with one query for each table."""

    def __init__(self, entries: Iterable[LogEntry]) -> None:
        entries = list(entries)
        self._rows = _in_bulk(_references(entries))
        owned = _in_bulk(
            (model, entry.object_id)
            for entry in entries
            if (model := entry.content_type.model_class()) in owned_models() and entry.object_id
        )
        tenant_ids = {entry.pk: self._tenant_id(entry, owned) for entry in entries}
        tenants = Tenant.objects.in_bulk({pk for pk in tenant_ids.values() if pk})
        self._tenants = {entry: tenants[pk] for entry, pk in tenant_ids.items() if pk in tenants}

    def tenant_of(self, entry: LogEntry) -> Tenant | None:
        return self._tenants.get(entry.pk)

    def changes(self, entry: LogEntry) -> Iterator[FieldChange]:
        """The entry's changes, without fields that stayed the same and the row's reverse relations."""
        model = entry.content_type.model_class()
        if model is None:
            return
        fields = {field.name: field for field in (*model._meta.concrete_fields, *model._meta.many_to_many)}
        for name, change in real_changes(model, entry.changes or {}).items():
            field: Any = fields.get(name)
            if field is None:
                continue
            label = str(capfirst(field.verbose_name))
            if isinstance(change, dict):  # many-to-many: {"operation": "add", "objects": [...]}
                listed = ", ".join(map(str, change.get("objects", ())))
                yield FieldChange(name, label, str(change.get("operation", "")), listed)
            else:
                old, new = (self._shown(field, value) for value in change)
                yield FieldChange(name, label, old, new)

    def _shown(self, field: "Field[Any, Any]", value: Any) -> str:
        text = str(value)
        if value in EMPTY:
            return formatters.NOTHING
        if isinstance(field, ForeignKey):
            row = self._rows.get((field.related_model, text))
            return str(row) if row else f"{field.related_model._meta.verbose_name} {text} (deleted)"
        if isinstance(field, DecimalField):
            return _plain(text)
        if isinstance(field, ArrayField):
            return text.strip("[]").replace("'", "")
        if isinstance(field, DateTimeField):
            return text.partition(".")[0].removesuffix("+00:00")
        return str(dict(field.flatchoices).get(text, {"True": "yes", "False": "no"}.get(text, text)))

    def _tenant_id(self, entry: LogEntry, owned: dict[tuple[type[Model], str], Model]) -> int | None:
        model = entry.content_type.model_class()
        if model is Tenant:
            return int(entry.object_id) if entry.object_id else None
        if model not in owned_models():
            return None
        row: Any = owned.get((model, str(entry.object_id)))
        if row is not None:
            return int(row.tenant_id) if row.tenant_id else None
        ids = [each for each in (entry.changes or {}).get("tenant", ()) if str(each).isdecimal()]
        return int(ids[-1]) if ids else None


def owned_models() -> list[type[Model]]:
    """The audited models whose rows belong to a tenant."""
    return [
        model
        for model in auditlog.get_models()
        if any(
            field.name == "tenant" and field.related_model is Tenant for field in model._meta.concrete_fields
        )
    ]


def of_tenants(ids: list[int]) -> Q:
    """Entries about these tenants and what belongs to them. For deleted rows their last entry says whose they were."""
    kinds = ContentType.objects.get_for_models(Tenant, *owned_models())
    found = Q(content_type=kinds[Tenant], object_id__in=ids)
    for model in owned_models():
        rows = model._default_manager.filter(tenant__in=ids).order_by().values("pk")
        found |= Q(content_type=kinds[model], object_id__in=rows)
    gone = Q(action=LogEntry.Action.DELETE, content_type__in=[kinds[model] for model in owned_models()])
    return found | (gone & Q(changes__tenant__0__in=[str(pk) for pk in ids]))


def _references(entries: Iterable[LogEntry]) -> Iterator[tuple[type[Model], str]]:
    """The rows that foreign keys in the entries' changes refer to."""
    for entry in entries:
        model = entry.content_type.model_class()
        for field in model._meta.concrete_fields if model else ():
            change = (entry.changes or {}).get(field.name)
            if isinstance(field, ForeignKey) and isinstance(change, list):
                yield from ((field.related_model, str(each)) for each in change if each not in EMPTY)


def _in_bulk(wanted: Iterable[tuple[type[Model], Any]]) -> dict[tuple[type[Model], str], Model]:
    ids: dict[type[Model], set[str]] = defaultdict(set)
    for model, pk in wanted:
        if str(pk).isdecimal():
            ids[model].add(str(pk))
    return {
        (model, str(pk)): row
        for model, pks in ids.items()
        for pk, row in model._default_manager.in_bulk(pks).items()
    }


def _plain(text: str) -> str:
    try:
        return f"{Decimal(text).normalize():f}"
    except InvalidOperation:
        return text
