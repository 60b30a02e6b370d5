"""Second factors with encrypted seeds. Those there are go on working; their plain text is removed.

django-otp's table keeps its rows, each with a seed that nobody knows: processes of the release before, while they are
still running, then refuse every code instead of asking for none.
"""

import secrets

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from gateway_project.ground.secrets import decrypt, encrypt

_TABLE = "otp_totp_totpdevice"
# One for each account: the confirmed one, if there are several.
_READ = f"""
SELECT DISTINCT ON (user_id) user_id, name, confirmed, key, drift, last_t FROM {_TABLE}
ORDER BY user_id, confirmed DESC, id DESC
"""
# The app is not installed any more, so that nothing would delete its row with an account.
_LET_GO = f"""
DO $$ DECLARE held text; BEGIN
    FOR held IN
        SELECT conname FROM pg_constraint WHERE conrelid = '{_TABLE}'::regclass AND contype = 'f'
    LOOP
        EXECUTE format('ALTER TABLE {_TABLE} DROP CONSTRAINT %I', held);
    END LOOP;
END $$
"""


def encrypt_seeds(apps, schema_editor):
    if not _has_table(schema_editor):
        return
    second_factor = apps.get_model("tenants", "SecondFactor")
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(_READ)
        second_factor.objects.bulk_create(
            second_factor(
                user_id=user, name=name, confirmed=confirmed, secret=encrypt(key), drift=drift, last_t=last_t
            )
            for user, name, confirmed, key, drift, last_t in cursor.fetchall()
        )
        cursor.execute(f"SELECT id FROM {_TABLE}")
        for (device,) in cursor.fetchall():
            cursor.execute(f"UPDATE {_TABLE} SET key = %s WHERE id = %s", [secrets.token_hex(20), device])
        cursor.execute(_LET_GO)


def decrypt_seeds(apps, schema_editor):
    """Back to plain text; no account may lose its second factor without a word."""
    devices = list(apps.get_model("tenants", "SecondFactor").objects.all())
    if not devices:
        return
    if not _has_table(schema_editor):
        raise RuntimeError(
            f"The release before keeps second factors in {_TABLE}, which is not there. "
            "Remove each with `manage.py remove_second_factor NAME` first."
        )
    with schema_editor.connection.cursor() as cursor:
        for device in devices:
            cursor.execute(f"DELETE FROM {_TABLE} WHERE user_id = %s", [device.user_id])
            cursor.execute(
                f"INSERT INTO {_TABLE} (user_id, name, confirmed, key, step, t0, digits, tolerance, drift, last_t,"
                " throttling_failure_count) VALUES (%s, %s, %s, %s, 30, 0, 6, 1, %s, %s, 0)",
                [
                    *(device.user_id, device.name, device.confirmed, decrypt(device.secret)),
                    *(device.drift, device.last_t),
                ],
            )


def _has_table(schema_editor):
    return _TABLE in schema_editor.connection.introspection.table_names()


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0011_operator_tokens"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.CreateModel(
            name="SecondFactor",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(help_text="The human-readable name of this device.", max_length=64)),
                ("confirmed", models.BooleanField(default=True, help_text="Is this device ready for use?")),
                (
                    "throttling_failure_timestamp",
                    models.DateTimeField(
                        blank=True,
                        default=None,
                        help_text="A timestamp of the last failed verification attempt. Null if last attempt succeeded.",
                        null=True,
                    ),
                ),
                (
                    "throttling_failure_count",
                    models.PositiveIntegerField(default=0, help_text="Number of successive failed attempts."),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        auto_now_add=True,
                        help_text="The date and time when this device was initially created in the system.",
                        null=True,
                    ),
                ),
                (
                    "last_used_at",
                    models.DateTimeField(
                        blank=True, help_text="The most recent date and time this device was used.", null=True
                    ),
                ),
                ("secret", models.TextField(editable=False)),
                ("drift", models.SmallIntegerField(default=0, editable=False)),
                (
                    "last_t",
                    models.BigIntegerField(
                        default=-1,
                        editable=False,
                        help_text="The time step of the last code. No code is taken twice.",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        help_text="The user that this device belongs to.",
                        on_delete=django.db.models.deletion.CASCADE,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "second factor",
                "abstract": False,
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("user",), name="tenants_secondfactor_one_for_each_account"),
                    models.CheckConstraint(
                        condition=models.Q(("secret__startswith", "enc:")),
                        name="tenants_secondfactor_secret_is_encrypted",
                    ),
                ],
            },
        ),
        migrations.RunPython(encrypt_seeds, decrypt_seeds),
    ]
