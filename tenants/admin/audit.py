"""The audit trail's page: filtered, and exported as CSV."""

import csv
from collections.abc import Iterator
from typing import Any

from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
    RangeDateTimeFilter,
)
from unfold.decorators import action, display

from gateway_project.console.pages import CountlessPage
from gateway_project.streamed import streamed

admin.site.unregister(LogEntry)
LogEntry._meta.verbose_name, LogEntry._meta.verbose_name_plural = "audit trail entry", "audit trail entries"

EXPORT_LIMIT = 100_000  # rows
UNSAID = {"id", "created_at", "updated_at", "date_joined"}  # of a new row: the entry's own time says it


class KindFilter(DropdownFilter):
    """What was changed, from the kinds the trail is kept for (not from the trail itself)."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        kinds = (
            (model._meta.label_lower, str(model._meta.verbose_name).capitalize())
            for model in auditlog.get_models()
        )
        return sorted(kinds, key=lambda kind: kind[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        app, _, model = (self.value() or "").partition(".")
        return queryset.filter(content_type__app_label=app, content_type__model=model) if model else queryset


class _Echo:
    """A file that hands back what is written, for a CSV that is streamed."""

    def write(self, line: str) -> str:
        return line


@admin.register(LogEntry)
class TrailAdmin(CountlessPage):
    list_display = ("when", "actor", "shown_action", "kind", "what", "changed")
    list_display_links = ("when",)
    list_filter = (
        KindFilter,
        ("action", ChoicesDropdownFilter),
        ("actor", AutocompleteSelectFilter),
        ("timestamp", RangeDateTimeFilter),
    )
    list_select_related = ("actor", "content_type")
    search_fields = ("object_repr", "actor__username")
    search_help_text = "Search by what was changed or by whom"
    ordering = ("-timestamp",)
    fields = (("timestamp", "actor", "remote_addr"), ("shown_action", "kind", "what"), "changed")
    readonly_fields = ("shown_action", "kind", "what", "changed")
    actions_list = ("export",)

    @action(description="Export as CSV", icon="download", url_path="export", permissions=["view"])
    def export(self, request: HttpRequest) -> StreamingHttpResponse:
        """The newest entries, as filtered on the page one came from, at most EXPORT_LIMIT."""
        rows = self.get_changelist_instance(request).get_queryset(request)[:EXPORT_LIMIT]
        return streamed(
            request,
            lambda: (line.encode() for line in _lines(rows)),
            content_type="text/csv",
            filename="audit-trail.csv",
        )

    @display(description="When", ordering="timestamp")
    def when(self, entry: LogEntry) -> str:
        return f"{entry.timestamp:%Y-%m-%d %H:%M:%S}"

    @display(
        description="Action",
        ordering="action",
        label={"create": "success", "update": "info", "delete": "danger"},
    )
    def shown_action(self, entry: LogEntry) -> str:
        return str(entry.get_action_display())

    @display(description="Kind")
    def kind(self, entry: LogEntry) -> str:
        return str(entry.content_type.name).capitalize()

    @display(description="What", ordering="object_repr")
    def what(self, entry: LogEntry) -> SafeString | str:
        try:
            name = f"admin:{entry.content_type.app_label}_{entry.content_type.model}_change"
            return format_html(
                '<a href="{}">{}</a>', reverse(name, args=[entry.object_pk]), entry.object_repr
            )
        except NoReverseMatch:
            return entry.object_repr

    @display(description="Old → new")
    def changed(self, entry: LogEntry) -> SafeString:
        if entry.action == LogEntry.Action.CREATE:
            given = ((field, new) for field, _, new in _changes(entry) if field not in UNSAID)
            changes = format_html_join(", ", '<span class="c-change"><b>{}</b> {}</span>', given)
        else:
            changes = format_html_join("", '<div class="c-change"><b>{}</b> {} → {}</div>', _changes(entry))
        reason = (entry.additional_data or {}).get("reason")
        return format_html('{}<div class="c-muted">“{}”</div>', changes, reason) if reason else changes


def _changes(entry: LogEntry) -> Iterator[tuple[str, str, str]]:
    """Field, old, new. What was empty and stayed so is left out, and so are the row's reverse relations."""
    model = entry.content_type.model_class()
    columns = (
        {field.name for field in (*model._meta.concrete_fields, *model._meta.many_to_many)} if model else ()
    )
    for field, change in (entry.changes or {}).items():
        if field not in columns:
            continue
        if isinstance(change, dict):  # many-to-many: {"operation": "add", "objects": [...]}
            yield field, str(change.get("operation", "")), ", ".join(map(str, change.get("objects", ())))
            continue
        old, new = ("–" if value in ("None", "", None) else str(value) for value in change)
        if old != new:
            yield field, old, new


def _lines(rows: QuerySet[LogEntry]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(["time", "who", "from", "action", "kind", "what", "field", "old", "new", "reason"])
    for entry in rows.iterator(chunk_size=1000):
        head = [entry.timestamp.isoformat(), entry.actor or "system", entry.remote_addr or ""]
        head += [entry.get_action_display(), entry.content_type.name, entry.object_repr]
        reason = (entry.additional_data or {}).get("reason", "")
        for change in _changes(entry):
            yield writer.writerow([_defused(value) for value in (*head, *change, reason)])


def _defused(value: object) -> str:
    """A cell that a spreadsheet would run as a formula gets a quote in front."""
    text = str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
