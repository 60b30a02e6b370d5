"""Which address of a `mailto:` endpoint has confirmed that it wants its events.

Those that staff made are taken as confirmed. A tenant's own have to confirm: they are asked with their next event.
"""

from django.db import migrations, models

_STAFF_MADE = """
UPDATE billing_webhookendpoint SET confirmed_address = substr(url, 8)
WHERE url LIKE 'mailto:%' AND length(url) <= 261 AND (tenant_id IS NULL OR alert_address)
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0020_ledger_chain")]
    operations = [
        migrations.AddField(
            model_name="webhookendpoint",
            name="confirmed_address",
            field=models.CharField(blank=True, db_default="", default="", editable=False, max_length=254),
        ),
        migrations.AlterField(
            model_name="webhookendpoint",
            name="url",
            field=models.CharField(
                help_text="https://… or, for the same events by email, mailto:…", max_length=2000, verbose_name="URL"
            ),
        ),
        migrations.RunSQL(_STAFF_MADE, migrations.RunSQL.noop),
    ]
