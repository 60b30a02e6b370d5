"""The two sums of the roll-up and the triggers that keep them."""

from pathlib import Path

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0003_price_outbox'),
        ('tenants', '0004_policy_outbox'),
    ]

    operations = [
        migrations.CreateModel(
            name='DailyTotal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('slice', models.PositiveSmallIntegerField()),
                ('model', models.CharField(max_length=100)),
                ('status', models.CharField(choices=[('ok', 'OK'), ('upstream_error', 'Upstream error'), ('cancelled', 'Cancelled'), ('orphaned', 'Orphaned')], max_length=20)),
                ('requests', models.BigIntegerField(default=0)),
                ('cost_usd', models.DecimalField(decimal_places=9, default=0, max_digits=24, verbose_name='cost (USD)')),
                ('upstream_cost_usd', models.DecimalField(decimal_places=9, default=0, max_digits=24)),
                ('latency_buckets', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), null=True, size=None)),
                ('ttft_buckets', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), null=True, size=None)),
            ],
            options={
                'ordering': ['-day', 'model', 'status', 'slice'],
                'default_permissions': ('view',),
                'constraints': [models.UniqueConstraint(fields=('day', 'slice', 'model', 'status'), name='billing_dailytotal_unique')],
            },
        ),
        migrations.CreateModel(
            name='PeriodUsage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('period_start', models.DateField()),
                ('requests', models.BigIntegerField(default=0)),
                ('cost_usd', models.DecimalField(decimal_places=9, default=0, max_digits=24, verbose_name='cost (USD)')),
                ('upstream_cost_usd', models.DecimalField(decimal_places=9, default=0, max_digits=24)),
                ('tenant', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='period_usage', to='tenants.tenant')),
            ],
            options={
                'verbose_name_plural': 'period usage',
                'ordering': ['-period_start', 'tenant'],
                'default_permissions': ('view',),
                'constraints': [models.UniqueConstraint(fields=('tenant', 'period_start'), name='billing_periodusage_unique')],
            },
        ),
        migrations.RunSQL(
            sql=Path(__file__).with_name("0004_totals.sql").read_text(),
            reverse_sql=Path(__file__).with_name("0004_totals.undo.sql").read_text(),
        ),
    ]
