"""A page for prepaid balances, for every role of staff."""

from django.contrib.auth.management import create_permissions
from django.db import migrations


def grant(apps, schema_editor):
    config = apps.get_app_config("billing")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    permissions = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="billing", codename="view_prepaidbalance"
    )
    roles = ("Owner", "Operator", "Finance", "Support")
    for group in apps.get_model("auth", "Group").objects.filter(name__in=roles):
        group.permissions.add(*permissions)


class Migration(migrations.Migration):
    dependencies = [("billing", "0008_alert_rearmed"), ("tenants", "0007_upstream_outbox")]
    operations = [
        migrations.CreateModel(
            name="PrepaidBalance",
            fields=[],
            options={
                "verbose_name": "prepaid balance",
                "proxy": True,
                "default_permissions": ("view",),
                "indexes": [],
                "constraints": [],
            },
            bases=("tenants.tenant",),
        ),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
