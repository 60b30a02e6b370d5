"""Operators' API tokens as digests. Those there are go on working; their plain text is removed.

Taking it back drops the digests, from which no token can be made again: run `create_operator` then. While processes of
the release before are still running they know no token, and answer 401 to the control API until they are replaced.
"""

import django.db.models.deletion
from django.conf import settings
from django.contrib.auth.management import create_permissions
from django.db import migrations, models

# The table of rest_framework.authtoken, where there is one. Truncated, so that nothing is left in its file either.
_DIGESTS = """
DO $$ BEGIN
    IF to_regclass('authtoken_token') IS NOT NULL THEN
        INSERT INTO tenants_operatortoken (user_id, prefix, digest, created_at)
        SELECT user_id, left(key, 8), encode(sha256(convert_to(key, 'UTF8')), 'hex'), created
        FROM authtoken_token;
        TRUNCATE authtoken_token;
    END IF;
END $$
"""


def permit(apps, schema_editor):
    """Whoever has everything sees and ends tokens as well."""
    config = apps.get_app_config("tenants")
    config.models_module = True  # Django makes permissions after all migrations; the role needs them now
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    permissions = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="tenants", content_type__model="operatortoken"
    )
    for owners in apps.get_model("auth", "Group").objects.filter(name="Owner"):
        owners.permissions.add(*permissions)


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0010_operators_invite"),
        ("auth", "0012_alter_user_first_name_max_length"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.CreateModel(
            name="OperatorToken",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("prefix", models.CharField(editable=False, max_length=12)),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("last_used_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "API token",
                "ordering": ["-created_at"],
                "default_permissions": ("view", "delete"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("digest__regex", "^[0-9a-f]{64}$")),
                        name="tenants_operatortoken_digest_is_sha256",
                    )
                ],
            },
        ),
        migrations.RunSQL(_DIGESTS, migrations.RunSQL.noop),
        migrations.RunPython(permit, migrations.RunPython.noop),
    ]
