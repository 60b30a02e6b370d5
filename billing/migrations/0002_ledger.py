"""The ledger's table, its triggers and partitions, which Django cannot write; the state says what it sees."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0001_initial'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    sql=Path(__file__).with_name("0002_ledger.sql").read_text(),
                    reverse_sql=Path(__file__).with_name("0002_ledger.undo.sql").read_text(),
                ),
            ],
            state_operations=[
                migrations.CreateModel(
                    name='UsageRecord',
                    fields=[
                        ('request_id', models.UUIDField(primary_key=True, serialize=False)),
                        ('created_at', models.DateTimeField()),
                        ('recorded_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), help_text='When the row was written; late rows show here.')),
                        ('day', models.DateField(help_text="In the tenant's time zone.")),
                        ('period_start', models.DateField(help_text="First day of the tenant's billing period.")),
                        ('end_user', models.CharField(db_default='', max_length=256)),
                        ('session', models.CharField(db_default='', max_length=256)),
                        ('run_id', models.CharField(db_default='', max_length=256)),
                        ('wire', models.CharField(choices=[('anthropic', 'Anthropic'), ('openai', 'OpenAI')], max_length=10)),
                        ('model_requested', models.CharField(db_default='', max_length=100)),
                        ('model', models.CharField(max_length=100)),
                        ('route', models.CharField(db_default='', max_length=100)),
                        ('stream', models.BooleanField(db_default=False)),
                        ('status', models.CharField(choices=[('ok', 'OK'), ('upstream_error', 'Upstream error'), ('cancelled', 'Cancelled'), ('orphaned', 'Orphaned')], max_length=20)),
                        ('http_status', models.PositiveSmallIntegerField(null=True)),
                        ('input_tokens', models.PositiveBigIntegerField(db_default=0)),
                        ('output_tokens', models.PositiveBigIntegerField(db_default=0)),
                        ('cache_read_tokens', models.PositiveBigIntegerField(db_default=0)),
                        ('cache_write_5m_tokens', models.PositiveBigIntegerField(db_default=0, verbose_name='cache write 5m tokens')),
                        ('cache_write_1h_tokens', models.PositiveBigIntegerField(db_default=0, verbose_name='cache write 1h tokens')),
                        ('web_searches', models.PositiveIntegerField(db_default=0)),
                        ('cost_usd', models.DecimalField(decimal_places=9, help_text='Sell price.', max_digits=20, verbose_name='cost (USD)')),
                        ('upstream_cost_usd', models.DecimalField(decimal_places=9, help_text='Cost price.', max_digits=20)),
                        ('estimated', models.BooleanField(db_default=False)),
                        ('latency_ms', models.PositiveIntegerField(null=True, verbose_name='latency (ms)')),
                        ('ttft_ms', models.PositiveIntegerField(null=True, verbose_name='time to first token (ms)')),
                        ('upstream_request_id', models.CharField(db_default='', max_length=128)),
                        ('tags', models.JSONField(default=dict)),
                        ('note', models.CharField(db_default='', help_text='Why it was estimated or quarantined.', max_length=500)),
                        ('api_key', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='usage', to='tenants.apikey')),
                        ('price', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='billing.modelprice')),
                        ('tenant', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='usage', to='tenants.tenant')),
                    ],
                    options={
                        'verbose_name': 'ledger row',
                        'verbose_name_plural': 'ledger',
                        'ordering': ['-created_at'],
                        'default_permissions': ('view',),
                    },
                ),
                migrations.AddIndex(
                    model_name='usagerecord',
                    index=models.Index(fields=['-created_at'], name='billing_usage_newest'),
                ),
                migrations.AddIndex(
                    model_name='usagerecord',
                    index=models.Index(fields=['tenant', '-created_at'], name='billing_usage_tenant'),
                ),
                migrations.AddIndex(
                    model_name='usagerecord',
                    index=models.Index(fields=['api_key', '-created_at'], name='billing_usage_key'),
                ),
                migrations.AddIndex(
                    model_name='usagerecord',
                    index=models.Index(fields=['model', '-created_at'], name='billing_usage_model'),
                ),
                migrations.AddIndex(
                    model_name='usagerecord',
                    index=models.Index(condition=models.Q(('status', 'ok'), _negated=True), fields=['status', '-created_at'], name='billing_usage_faults'),
                ),
                migrations.AddConstraint(
                    model_name='usagerecord',
                    constraint=models.CheckConstraint(condition=models.Q(('cost_usd__gte', 0), ('upstream_cost_usd__gte', 0)), name='billing_usagerecord_cost_not_negative'),
                ),
                migrations.AddConstraint(
                    model_name='usagerecord',
                    constraint=models.CheckConstraint(condition=models.Q(('status__in', ['ok', 'upstream_error', 'cancelled', 'orphaned'])), name='billing_usagerecord_status_is_known'),
                ),
            ],
        ),
    ]
