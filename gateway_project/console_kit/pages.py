"""Base classes of the console's pages: what all have in common, and pages that are read-only."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.views.main import ERROR_FLAG, ORDER_VAR
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import connection, models
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst
from unfold.admin import ModelAdmin, TabularInline
from unfold.paginator import InfinitePaginator
from unfold.views import ChangeList

from gateway_project.console_kit.site import page_names
from gateway_project.console_kit.stale_forms import AsShownForm

# What a filter is called, where the name of its column is not what its pages call it.
FILTER_TITLES = {"created_at": "Date (UTC)", "crossed_at": "Date (UTC)", "period_start": "Period start"}


def staff_of(request: HttpRequest) -> User:
    """The person who is logged in. Raises PermissionDenied for anyone else, whom the admin lets no further anyway."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


class PlainDecimalField(forms.DecimalField):
    """A decimal without trailing zeros: 500, not 500.000000000."""

    def prepare_value(self, value: Any) -> Any:
        return f"{value.normalize():f}" if isinstance(value, Decimal) else value


class ConsolePage(ModelAdmin):
    """A page of the console: filters with a button, plain decimals, a warning before a changed form is left, and no
    overwriting of what others changed meanwhile.
    """

    form: type[forms.ModelForm] = AsShownForm
    change_form_before_template = "admin/as_shown.html"
    list_filter_submit = True
    list_per_page = 30  # unfold writes 6 kB a row
    show_facets = ShowFacets.NEVER  # a count for each choice of a filter reads the whole table
    warn_unsaved_form = True
    empty_text = ""  # says how the list gets filled, where that is not obvious
    formfield_overrides: Any = {models.DecimalField: {"form_class": PlainDecimalField}}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The list, titled as in the sidebar."""
        if ERROR_FLAG in request.GET:
            messages.error(
                request, "A filter is not valid, so nothing is listed. Clear the filters to see everything."
            )
        name = page_names().get(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))
        return super().changelist_view(
            request, {**({"title": name} if name else {}), **(extra_context or {})}
        )

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list, empty if a filter could not be read: all rows would look like its result."""
        listed = super().get_changelist_instance(request)
        for spec in listed.filter_specs:
            spec.title = FILTER_TITLES.get(getattr(spec, "field_path", ""), capfirst(spec.title))
        listed.unread_filter = ERROR_FLAG in request.GET
        if listed.unread_filter:
            listed.queryset, listed.result_list, listed.result_count = listed.queryset.none(), [], 0
        return listed

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """The row, locked and read again when its form is saved.

        Saving writes every column. What others changed meanwhile in columns that are not in the form (a key revoked, a
        top-up booked) must stay.
        """
        row = super().get_object(request, object_id, from_field)
        if row is None or request.method != "POST" or not connection.in_atomic_block:
            return row
        list(self.model._default_manager.select_for_update(no_key=True, of=("self",)).filter(pk=row.pk))
        return super().get_object(request, object_id, from_field)


class ReadOnlyPage(ConsolePage):
    """A page on which nothing can be added, changed or removed, whatever permissions one has."""

    warn_unsaved_form = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class InsertOnlyPage(ConsolePage):
    """A page on which rows can be added, and never changed or removed."""

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class IndexedOrder(ChangeList):
    """A list that sorts only by the columns of `sortable_by`, whatever the URL says."""

    def get_ordering(self, request: HttpRequest, queryset: Any) -> Any:
        wanted = {column.removeprefix("-") for column in self.params.get(ORDER_VAR, "").split(".")}
        offered = {str(n) for n, name in enumerate(self.list_display) if name in self.sortable_by}
        if not wanted <= offered:
            self.params.pop(ORDER_VAR, None)
        return super().get_ordering(request, queryset)


class CountlessPage(ReadOnlyPage):
    """A page for a table of millions of rows: pages without a COUNT(*), sorted only by an indexed column."""

    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ("when",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return IndexedOrder


class ReadOnlyInline(TabularInline):
    """Rows of another table, shown read-only within the page."""

    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
