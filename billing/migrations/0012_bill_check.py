"""Upstream's bill held against the ledger; finance may import bills."""

from django.contrib.auth.management import create_permissions
from django.db import migrations, models
from django.db.models import F

GRANTS = {
    "Owner": ("view_billcheck",),
    "Operator": ("view_billcheck",),
    "Finance": ("view_billcheck", "add_upstreamusage"),
}


def grant(apps, schema_editor):
    config = apps.get_app_config("billing")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    permissions = apps.get_model("auth", "Permission").objects.filter(content_type__app_label="billing")
    for group in apps.get_model("auth", "Group").objects.filter(name__in=GRANTS):
        group.permissions.add(*permissions.filter(codename__in=GRANTS[group.name]))


class Migration(migrations.Migration):
    dependencies = [("billing", "0011_tags_so_far"), ("tenants", "0007_upstream_outbox")]
    operations = [
        migrations.CreateModel(
            name="BillCheck",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                ("model", models.CharField(help_text="As upstream names it.", max_length=100)),
                ("billed_usd", models.DecimalField("billed (USD)", decimal_places=9, max_digits=20)),
                (
                    "booked_usd",
                    models.DecimalField(
                        "booked (USD)",
                        decimal_places=9,
                        help_text="Cost price, with later price corrections.",
                        max_digits=24,
                    ),
                ),
                (
                    "difference_usd",
                    models.GeneratedField(
                        db_persist=True,
                        expression=F("billed_usd") - F("booked_usd"),
                        help_text="Positive: upstream billed more than is booked.",
                        output_field=models.DecimalField(decimal_places=9, max_digits=24),
                    ),
                ),
                ("counts", models.JSONField(default=dict, help_text="Requests and tokens: [billed, booked].")),
                ("ok", models.BooleanField("within tolerance")),
                ("checked_at", models.DateTimeField()),
            ],
            options={
                "ordering": ["-day", "model"],
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(fields=("day", "model"), name="billing_billcheck_unique")
                ],
            },
        ),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
