"""Note every change of a tier's downgrades in the policy outbox; whoever keeps tiers keeps them."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

ROLES = {
    "Owner": ("view", "add", "change", "delete"),
    "Operator": ("view", "add", "change", "delete"),
    "Finance": ("view",),
    "Support": ("view",),
}


def grant(apps, schema_editor):
    config = apps.get_app_config("tenants")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    permissions = apps.get_model("auth", "Permission").objects
    for group in apps.get_model("auth", "Group").objects.filter(name__in=ROLES):
        names = [f"{verb}_tierdowngrade" for verb in ROLES[group.name]]
        group.permissions.add(*permissions.filter(content_type__app_label="tenants", codename__in=names))


class Migration(migrations.Migration):
    dependencies = [("tenants", "0008_downgrade_policy")]
    operations = [
        migrations.RunSQL(
            "CREATE TRIGGER tenants_tierdowngrade_policy AFTER INSERT OR UPDATE OR DELETE ON tenants_tierdowngrade "
            "FOR EACH ROW EXECUTE FUNCTION tenants_note_policy_change('everyone')",
            "DROP TRIGGER tenants_tierdowngrade_policy ON tenants_tierdowngrade",
        ),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
