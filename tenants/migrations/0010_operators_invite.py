"""Operators ask a tenant's first people into the portal."""

from django.db import migrations


def permit(apps, schema_editor):
    operators = apps.get_model("auth", "Group").objects.filter(name="Operator").first()
    permission = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="tenants", codename="add_invitation"
    ).first()
    if operators and permission:
        operators.permissions.add(permission)


def forbid(apps, schema_editor):
    for operators in apps.get_model("auth", "Group").objects.filter(name="Operator"):
        operators.permissions.remove(*operators.permissions.filter(codename="add_invitation"))


class Migration(migrations.Migration):
    dependencies = [("tenants", "0009_downgrade_outbox"), ("auth", "0012_alter_user_first_name_max_length")]
    operations = [migrations.RunPython(permit, forbid)]
