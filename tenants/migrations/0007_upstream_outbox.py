"""Note every change of the list of upstreams in the policy outbox, and let owners keep that list."""

from django.contrib.auth.management import create_permissions
from django.db import migrations


def grant(apps, schema_editor):
    config = apps.get_app_config("routing")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    permissions = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="routing", content_type__model="upstream"
    )
    for owner in apps.get_model("auth", "Group").objects.filter(name="Owner"):
        owner.permissions.add(*permissions)


class Migration(migrations.Migration):
    dependencies = [("tenants", "0006_upstream_weight"), ("routing", "0002_upstream")]
    operations = [
        migrations.RunSQL(
            "CREATE TRIGGER routing_upstream_policy AFTER INSERT OR UPDATE OR DELETE ON routing_upstream "
            "FOR EACH ROW EXECUTE FUNCTION tenants_note_policy_change('everyone')",
            "DROP TRIGGER routing_upstream_policy ON routing_upstream",
        ),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
