"""A role's permissions as a table: models by actions."""

from typing import Any

from django import forms
from django.contrib.auth.models import Group, Permission
from django.db.models import QuerySet
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from gateway_project.console_kit.stale_forms import AsShownForm

VERBS = ("view", "add", "change", "delete")
SHOWN_APPS = ("tenants", "routing", "billing", "auth", "auditlog")  # apps with pages in the console


def shown_permissions() -> QuerySet[Permission]:
    return Permission.objects.select_related("content_type").filter(content_type__app_label__in=SHOWN_APPS)


class PermissionTable(forms.SelectMultiple):
    """Checkboxes in a table. A model's permissions besides the usual four come last."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        chosen = {int(each) for each in value or ()}
        rows: dict[tuple[str, str], dict[str, Permission]] = {}
        for permission in shown_permissions():
            kind = permission.content_type
            verb = permission.codename.removesuffix(f"_{kind.model}")
            rows.setdefault((kind.app_label, capfirst(str(kind.name))), {})[verb] = permission
        lines = [
            (title, [(verb, found.get(verb), found.get(verb) and found[verb].pk in chosen) for verb in VERBS])
            for (_, title), found in sorted(rows.items())
        ]
        return render_to_string("admin/role_table.html", {"name": name, "verbs": VERBS, "lines": lines})


class RoleForm(AsShownForm):
    permissions = forms.ModelMultipleChoiceField(
        Permission.objects.none(), required=False, widget=PermissionTable, label="Permissions"
    )

    class Meta:
        model = Group
        fields = ("name", "permissions")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "permissions" in self.fields:
            self.fields["permissions"].queryset = shown_permissions()  # type: ignore[attr-defined]

    def clean_permissions(self) -> list[Permission]:
        """The chosen permissions, and those that the table does not show, which stay."""
        given = list(self.cleaned_data["permissions"])
        if self.instance.pk:
            given += self.instance.permissions.exclude(content_type__app_label__in=SHOWN_APPS)
        return given
