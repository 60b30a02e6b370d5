"""The audit trail's page: filtered, and exported as CSV."""

import csv
from collections.abc import Iterator
from itertools import islice
from typing import Any

from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
    TextFilter,
)
from unfold.decorators import action, display
from unfold.views import ChangeList

from gateway_project.console_kit import formatters
from gateway_project.console_kit.list_filters import Moments, chosen, refuse
from gateway_project.console_kit.pages import CountlessPage, IndexedOrder
from gateway_project.ground.streamed import streamed
from tenants.admin.audit_entries import Known, of_tenants
from tenants.models import Tenant

admin.site.unregister(LogEntry)
LogEntry._meta.verbose_name, LogEntry._meta.verbose_name_plural = "audit trail entry", "audit trail entries"

EXPORT_LIMIT = 100_000  # rows
MOST_TENANTS = 20  # the most that a search matches
UNSAID = {"id", "created_at", "updated_at", "date_joined"}  # not shown for a new row: the entry has the time


class KindFilter(DropdownFilter):
    """By kind of row. The choices are the audited models; looking into the trail would read all of it."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        kinds = (
            (model._meta.label_lower, capfirst(str(model._meta.verbose_name)))
            for model in auditlog.get_models()
        )
        return sorted(kinds, key=lambda kind: kind[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        app, _, model = (chosen(request, self) or "").partition(".")
        return queryset.filter(content_type__app_label=app, content_type__model=model) if model else queryset


class _Echo:
    """A file whose `write` returns the line, for a CSV that is streamed."""

    def write(self, line: str) -> str:
        return line


class TenantFilter(TextFilter):
    """Entries about a tenant and what belongs to it, by its slug."""

    title = "tenant (slug)"
    parameter_name = "tenant"

    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        slug = (self.value() or "").strip()
        if not slug:
            return queryset
        tenant = Tenant.objects.filter(slug=slug).first()
        if tenant is None:
            refuse(request, f"There is no tenant {slug[:63]!r}.")
        return queryset.filter(of_tenants([tenant.pk]))


class TrailList(IndexedOrder):
    """Entries, with the names they refer to read at once for the whole page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        shown: list[Any] = list(self.result_list)  # type: ignore[has-type]  # unfold has no types
        known = Known(shown)
        for entry in shown:
            entry.known = known
        self.result_list = shown


@admin.register(LogEntry)
class TrailAdmin(CountlessPage):
    list_display = ("when", "actor", "shown_action", "kind", "what", "tenant", "changed")
    list_display_links = ("when",)
    list_filter = (
        TenantFilter,
        KindFilter,
        ("action", ChoicesDropdownFilter),
        ("actor", AutocompleteSelectFilter),
        ("timestamp", Moments),
    )
    list_select_related = ("actor", "content_type")
    search_fields = ("object_repr", "actor__username")
    search_help_text = "Search by tenant, by what was changed or by whom"
    ordering = ("-timestamp",)
    fields = (("timestamp", "actor", "remote_addr"), ("shown_action", "kind", "what", "tenant"), "changed")
    readonly_fields = ("shown_action", "kind", "what", "tenant", "changed")
    actions_list = ("export",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return TrailList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[LogEntry], search_term: str
    ) -> tuple[QuerySet[LogEntry], bool]:
        """Entries about rows with a matching name, and all about matching tenants."""
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        named = Q(name__icontains=search_term) | Q(slug__icontains=search_term)
        ids = (
            list(Tenant.objects.filter(named).values_list("pk", flat=True)[:MOST_TENANTS])
            if search_term
            else []
        )
        return (found | queryset.filter(of_tenants(ids)) if ids else found), may_repeat

    @action(description="Export as CSV", icon="download", url_path="export", permissions=["view"])
    def export(self, request: HttpRequest) -> HttpResponseBase:
        """The newest entries as CSV, filtered like the page, at most EXPORT_LIMIT."""
        try:
            rows = self.get_changelist_instance(request).get_queryset(request)[:EXPORT_LIMIT]
        except IncorrectLookupParameters:
            return redirect(f"{reverse('admin:auditlog_logentry_changelist')}?{ERROR_FLAG}=1")
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
        return capfirst(str(entry.content_type.name))

    @display(description="What", ordering="object_repr")
    def what(self, entry: LogEntry) -> SafeString | str:
        try:
            name = f"admin:{entry.content_type.app_label}_{entry.content_type.model}_change"
            return format_html(
                '<a href="{}">{}</a>', reverse(name, args=[entry.object_pk]), entry.object_repr
            )
        except NoReverseMatch:
            return entry.object_repr

    @display(description="Tenant")
    def tenant(self, entry: Any) -> SafeString | str:
        """Set by the list for the rows of its page."""
        tenant = _known(entry).tenant_of(entry)
        if tenant is None:
            return formatters.NOTHING
        url = reverse("admin:tenants_tenant_change", args=[tenant.pk])
        return format_html('<a href="{}">{}</a>', url, tenant.name)

    @display(description="Changes")
    def changed(self, entry: LogEntry) -> SafeString:
        fields = list(_known(entry).changes(entry))
        if entry.action == LogEntry.Action.CREATE:
            given = ((each.label, each.new) for each in fields if each.column not in UNSAID)
            changes = format_html_join(", ", '<span class="c-change"><b>{}</b> {}</span>', given)
        elif fields:
            lines = ((each.label, each.old, each.new) for each in fields)
            changes = format_html_join("", '<div class="c-change"><b>{}</b> {} → {}</div>', lines)
        else:
            changes = format_html('<span class="c-muted">{}</span>', "Saved without changes")
        reason = (entry.additional_data or {}).get("reason")
        return format_html('{}<div class="c-muted">“{}”</div>', changes, reason) if reason else changes


def _known(entry: Any) -> Known:
    """The names that the list has read for its page; a page of one entry reads its own."""
    if not hasattr(entry, "known"):
        entry.known = Known([entry])
    known: Known = entry.known
    return known


def _lines(rows: QuerySet[LogEntry]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    columns = ["time", "who", "from", "action", "kind", "what", "field", "old", "new", "reason", "tenant"]
    yield writer.writerow(columns)
    entries = rows.iterator(chunk_size=1000)
    while chunk := list(islice(entries, 1000)):
        known = Known(chunk)
        for entry in chunk:
            head = [entry.timestamp.isoformat(), entry.actor or "system", entry.remote_addr or ""]
            head += [entry.get_action_display(), entry.content_type.name, entry.object_repr]
            reason = (entry.additional_data or {}).get("reason", "")
            for each in known.changes(entry):
                row = (*head, each.column, each.old, each.new, reason, known.tenant_of(entry) or "")
                yield writer.writerow([_defused(value) for value in row])


def _defused(value: object) -> str:
    """`value` as a cell, with a quote in front if a spreadsheet would run it as a formula."""
    text = str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
