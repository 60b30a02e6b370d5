"""The console's pages for people, roles and API tokens. A token is never shown: create_operator prints it once."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from gateway_project.console_kit.pages import ConsolePage, ReadOnlyPage
from gateway_project.console_kit.stale_forms import AsShown
from tenants.admin.role_form import RoleForm
from tenants.models import OperatorToken
from tenants.people.members import end_invitations_of
from tenants.people.verified_emails import has_verified_email

# Titles, buttons and the audit trail call Django's groups roles, like the page does.
Group._meta.verbose_name, Group._meta.verbose_name_plural = "role", "roles"
for model in (User, Group):
    admin.site.unregister(model)


class UserForm(AsShown, UserChangeForm):
    pass


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ConsolePage):
    form = UserForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "verified", "roles", "is_staff", "is_active", "last_login")
    list_filter = ("is_staff", "is_superuser", "is_active", "groups")
    filter_horizontal = ()
    autocomplete_fields = ("groups",)
    fieldsets = (
        (None, {"fields": ("username", "password", ("first_name", "last_name"), ("email", "verified"))}),
        ("Access", {"fields": (("is_active", "is_staff", "is_superuser"), "groups")}),
        ("Dates", {"fields": (("last_login", "date_joined"),)}),
    )
    readonly_fields = ("verified", "last_login", "date_joined")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        accounts = super().get_queryset(request).annotate(email_is_verified=has_verified_email())
        return accounts.prefetch_related("groups")

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not obj.is_active or (change and not obj.is_staff):
            end_invitations_of(obj)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Only superusers make superusers, and nobody gives themselves a role."""
        fields = super().get_readonly_fields(request, obj)
        if request.user.is_superuser:
            return fields
        own = ("groups",) if obj and obj.pk == request.user.pk else ()
        return (*fields, "is_superuser", *own)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Only superusers change a superuser's account, including its password."""
        if obj and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Never: accounts are deactivated instead, so that the audit trail keeps their names."""
        return False

    @display(description="Email verified", boolean=True)
    def verified(self, user: Any) -> bool:
        """Whether the account has used a link that was mailed to its address."""
        return bool(user.email_is_verified)

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


@admin.register(OperatorToken)
class OperatorTokenAdmin(ReadOnlyPage):
    """API tokens. A deleted token is refused from its next request on. New ones are only made on the command line."""

    empty_text = "To create an operator with a control API token, run manage.py create_operator NAME."
    list_display = ("prefix", "user", "created_at", "last_used_at")
    list_select_related = ("user",)
    search_fields = ("prefix", "user__username")
    fields = (("prefix", "user"), ("created_at", "last_used_at"))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tenants.delete_operatortoken")
