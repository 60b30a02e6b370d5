"""Base classes of the admin: what every page has in common, and pages nobody may write to."""

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
    """Who is logged in; the admin lets nobody else this far."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


class PlainDecimalField(forms.DecimalField):
    """A decimal without the places that say nothing: 500, not 500.000000000."""

    def prepare_value(self, value: Any) -> Any:
        return f"{value.normalize():f}" if isinstance(value, Decimal) else value


class ConsolePage(ModelAdmin):
    """A page of ours: filters with a button, plain decimals, a warning before leaving a changed form, and no saving
    over what others changed meanwhile.
    """

    form: type[forms.ModelForm] = AsShownForm
    change_form_before_template = "admin/as_shown.html"
    list_filter_submit = True
    list_per_page = 30  # unfold writes 6 kB a row
    show_facets = ShowFacets.NEVER  # a count for each choice of a filter reads the whole table
    warn_unsaved_form = True
    empty_text = ""  # what would fill the list, where that is not plain
    formfield_overrides: Any = {models.DecimalField: {"form_class": PlainDecimalField}}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Under the name it has in the sidebar."""
        if ERROR_FLAG in request.GET:
            messages.error(
                request, "A filter is not valid, so nothing is listed. Clear the filters to see everything."
            )
        name = page_names().get(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))
        return super().changelist_view(
            request, {**({"title": name} if name else {}), **(extra_context or {})}
        )

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """After a filter that could not be read it is empty: all rows would look like the answer."""
        listed = super().get_changelist_instance(request)
        for spec in listed.filter_specs:
            spec.title = FILTER_TITLES.get(getattr(spec, "field_path", ""), capfirst(spec.title))
        listed.unread_filter = ERROR_FLAG in request.GET
        if listed.unread_filter:
            listed.queryset, listed.result_list, listed.result_count = listed.queryset.none(), [], 0
        return listed

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Locked while its form is saved, and read again then: saving writes every column, and what others changed
        meanwhile in those that are not in the form (a key revoked, a top-up booked) must stay.
        """
        found = super().get_object(request, object_id, from_field)
        if found is None or request.method != "POST" or not connection.in_atomic_block:
            return found
        list(self.model._default_manager.select_for_update(no_key=True, of=("self",)).filter(pk=found.pk))
        return super().get_object(request, object_id, from_field)


class ReadOnlyPage(ConsolePage):
    """A page that shows. Whoever holds whatever permission, nothing is added, changed or removed here."""

    warn_unsaved_form = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class InsertOnlyPage(ConsolePage):
    """A page where rows are added and then stay as they are."""

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class IndexedOrder(ChangeList):
    """A list that sorts by the columns of `sortable_by` only, whatever the address says."""

    def get_ordering(self, request: HttpRequest, queryset: Any) -> Any:
        wanted = {column.removeprefix("-") for column in self.params.get(ORDER_VAR, "").split(".")}
        offered = {str(n) for n, name in enumerate(self.list_display) if name in self.sortable_by}
        if not wanted <= offered:
            self.params.pop(ORDER_VAR, None)
        return super().get_ordering(request, queryset)


class CountlessPage(ReadOnlyPage):
    """A page of a table of millions: previous and next without a COUNT(*), sorted by what has an index."""

    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ("when",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return IndexedOrder


class ReadOnlyInline(TabularInline):
    """Rows of another table, shown in place."""

    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
