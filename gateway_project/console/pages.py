"""Base classes of the admin: what every page has in common, and pages nobody may write to."""

from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.paginator import InfinitePaginator


class ConsolePage(ModelAdmin):
    """A page of ours: filters with a button, no count of the unfiltered table, a warning before leaving."""

    list_filter_submit = True
    list_per_page = 50
    show_full_result_count = False
    warn_unsaved_form = True


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


class CountlessPaginator(InfinitePaginator):
    """Previous and next, without a COUNT(*) over a table of millions."""


class ReadOnlyInline(TabularInline):
    """Rows of another table, shown in place."""

    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
