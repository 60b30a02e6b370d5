"""People and roles, in the console's look. API tokens are never shown: create_operator prints them once."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from rest_framework.authtoken.models import TokenProxy
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from gateway_project.console_kit.pages import ConsolePage
from gateway_project.console_kit.stale_forms import AsShown
from tenants.admin.role_form import RoleForm

# A row of the page "Roles" is a role: in titles, buttons and the audit trail.
Group._meta.verbose_name, Group._meta.verbose_name_plural = "role", "roles"
for model in (User, Group, TokenProxy):
    admin.site.unregister(model)


class UserForm(AsShown, UserChangeForm):
    pass


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ConsolePage):
    form = UserForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "roles", "is_staff", "is_active", "last_login")
    list_filter = ("is_staff", "is_superuser", "is_active", "groups")
    filter_horizontal = ()
    autocomplete_fields = ("groups",)
    fieldsets = (
        (None, {"fields": ("username", "password", ("first_name", "last_name"), "email")}),
        ("Access", {"fields": (("is_active", "is_staff", "is_superuser"), "groups")}),
        ("Dates", {"fields": (("last_login", "date_joined"),)}),
    )
    readonly_fields = ("last_login", "date_joined")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Only a superuser makes superusers; nobody gives themselves a role."""
        fields = super().get_readonly_fields(request, obj)
        if request.user.is_superuser:
            return fields
        own = ("groups",) if obj and obj.pk == request.user.pk else ()
        return (*fields, "is_superuser", *own)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """A superuser's account (password included) is changed by superusers only."""
        if obj and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Accounts are made inactive, so that the audit trail keeps its names."""
        return False

    @display(description="Roles")
    def roles(self, user: User) -> str:
        return (
            "Superuser" if user.is_superuser else ", ".join(group.name for group in user.groups.all()) or "–"
        )


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ConsolePage):
    form = RoleForm
    list_display = ("name", "people")
    search_fields = ("name",)
    filter_horizontal = ()
    autocomplete_fields = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        return super().get_queryset(request).annotate(people=Count("user"))

    @display(description="People", ordering="people")
    def people(self, group: Any) -> int:
        return group.people
