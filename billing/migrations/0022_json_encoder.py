"""JSON columns write decimals and moments as texts. Only Python changes: no statement reaches the database."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0021_confirmed_address")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField("adjustment", "details", models.JSONField(blank=True, default=dict, editable=False, encoder=DjangoJSONEncoder)),
                migrations.AlterField("billcheck", "counts", models.JSONField(default=dict, help_text="Requests and tokens: [billed, booked].", encoder=DjangoJSONEncoder)),
                migrations.AlterField("budgetalert", "details", models.JSONField(blank=True, default=dict, encoder=DjangoJSONEncoder)),
                migrations.AlterField("driftreport", "details", models.JSONField(blank=True, default=dict, encoder=DjangoJSONEncoder)),
                migrations.AlterField("statement", "lines", models.JSONField(default=list, encoder=DjangoJSONEncoder)),
                migrations.AlterField("statement", "late_lines", models.JSONField(default=list, encoder=DjangoJSONEncoder)),
                migrations.AlterField("statement", "adjustment_lines", models.JSONField(default=list, encoder=DjangoJSONEncoder)),
                migrations.AlterField("statement", "alerts", models.JSONField(default=list, encoder=DjangoJSONEncoder)),
                migrations.AlterField("usageexport", "filters", models.JSONField(default=dict, encoder=DjangoJSONEncoder)),
                migrations.AlterField("usageexport", "totals", models.JSONField(default=dict, encoder=DjangoJSONEncoder)),
                migrations.AlterField("usagerecord", "tags", models.JSONField(default=dict, encoder=DjangoJSONEncoder)),
                migrations.AlterField("webhookdelivery", "payload", models.JSONField(encoder=DjangoJSONEncoder)),
            ]
        )
    ]
