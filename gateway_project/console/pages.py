"""Base classes of the admin: what every page has in common, and pages nobody may write to."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.paginator import InfinitePaginator


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
    """A page of ours: filters with a button, plain decimals, a warning before leaving a changed form."""

    list_filter_submit = True
    list_per_page = 30  # unfold writes 6 kB a row
    warn_unsaved_form = True
    formfield_overrides: Any = {models.DecimalField: {"form_class": PlainDecimalField}}


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


class CountlessPage(ReadOnlyPage):
    """A read-only page with previous and next, without a COUNT(*) over a table of millions."""

    paginator = InfinitePaginator
    show_full_result_count = False


class ReadOnlyInline(TabularInline):
    """Rows of another table, shown in place."""

    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
