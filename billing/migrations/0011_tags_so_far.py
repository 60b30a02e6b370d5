"""Sum what the ledger has so far by tag, and let the roles that see usage see the new pages."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

SUM = """
INSERT INTO billing_dailytagusage
    (tenant_id, name, day, value, model, requests, tokens, input_tokens, output_tokens, cost_usd)
SELECT tenant_id, left(tag.key, 64), day, left(tag.value, 64), model, count(*),
       sum(input_tokens + output_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens),
       sum(input_tokens), sum(output_tokens), sum(cost_usd)
FROM billing_usagerecord, jsonb_each_text(tags) tag
WHERE tags <> '{}'
GROUP BY 1, 2, 3, 4, 5
"""


def grant(apps, schema_editor):
    config = apps.get_app_config("billing")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    permissions = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="billing", codename__in=["view_dailytagusage", "view_dailyverdict"]
    )
    for group in apps.get_model("auth", "Group").objects.filter(
        name__in=["Owner", "Operator", "Finance", "Support"]
    ):
        group.permissions.add(*permissions)


class Migration(migrations.Migration):
    dependencies = [("billing", "0010_verdicts_and_tags")]
    operations = [
        migrations.RunSQL(SUM, "DELETE FROM billing_dailytagusage"),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
