import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.datetime
from decimal import Decimal
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0023_plain_help_texts'),
        ('tenants', '0015_wording'),
    ]

    operations = [
        # Words alone: no column changes, so the database is not asked to lock anything.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterModelOptions(
                    name='billcheck',
                    options={'default_permissions': ('view',), 'ordering': ['-day', 'model'], 'verbose_name': 'bill comparison'},
                ),
                migrations.AlterModelOptions(
                    name='driftreport',
                    options={'default_permissions': ('view',), 'ordering': ['-checked_at'], 'verbose_name': 'reconciliation'},
                ),
                migrations.AlterField(
                    model_name='billcheck',
                    name='difference_usd',
                    field=models.GeneratedField(db_persist=True, expression=django.db.models.expressions.CombinedExpression(models.F('billed_usd'), '-', models.F('booked_usd')), help_text='Positive if the upstream billed more than is in the ledger.', output_field=models.DecimalField(decimal_places=9, max_digits=24)),
                ),
                migrations.AlterField(
                    model_name='budgetalert',
                    name='kind',
                    field=models.CharField(choices=[('threshold', 'Budget threshold reached'), ('tokens_day', 'Daily token limit reached'), ('forecast', 'Budget forecast to run out early'), ('anomaly', 'Unusual spend')], default='threshold', max_length=12),
                ),
                migrations.AlterField(
                    model_name='budgetalert',
                    name='period_start',
                    field=models.DateField(help_text='For daily token limits and unusual spend, the day.'),
                ),
                migrations.AlterField(
                    model_name='driftreport',
                    name='drift_usd',
                    field=models.DecimalField(decimal_places=9, default=0, max_digits=20, verbose_name='difference (USD)'),
                ),
                migrations.AlterField(
                    model_name='driftreport',
                    name='ok',
                    field=models.BooleanField(verbose_name='matches'),
                ),
                migrations.AlterField(
                    model_name='driftreport',
                    name='redis_usd',
                    field=models.DecimalField(blank=True, decimal_places=9, max_digits=20, null=True, verbose_name='live counter (USD)'),
                ),
                migrations.AlterField(
                    model_name='ledgerarchive',
                    name='month',
                    field=models.DateField(help_text='First day of the month, in UTC.'),
                ),
                migrations.AlterField(
                    model_name='modelprice',
                    name='context_over_tokens',
                    field=models.PositiveIntegerField(blank=True, help_text='If set, the price only applies to longer inputs.', null=True, verbose_name='for inputs over (tokens)'),
                ),
                migrations.AlterField(
                    model_name='modelprice',
                    name='source',
                    field=models.CharField(default='staff', help_text='Where the price comes from.', max_length=100),
                ),
                migrations.AlterField(
                    model_name='modelprice',
                    name='web_search_usd',
                    field=models.DecimalField(decimal_places=6, default=Decimal('0'), max_digits=14, validators=[django.core.validators.MinValueValidator(Decimal('0'))], verbose_name='web search / 1,000'),
                ),
                migrations.AlterField(
                    model_name='statement',
                    name='late_usd',
                    field=models.DecimalField(decimal_places=9, default=0, help_text='Usage from periods that were already closed.', max_digits=24, verbose_name='late usage (USD)'),
                ),
                migrations.AlterField(
                    model_name='statement',
                    name='timezone',
                    field=models.CharField(max_length=64, verbose_name='time zone'),
                ),
                migrations.AlterField(
                    model_name='usageexport',
                    name='timezone',
                    field=models.CharField(default='UTC', max_length=64, verbose_name='time zone'),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='api_key',
                    field=models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='usage', to='tenants.apikey', verbose_name='API key'),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='cache_write_1h_tokens',
                    field=models.PositiveBigIntegerField(db_default=0, verbose_name='cache write tokens (1 h)'),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='cache_write_5m_tokens',
                    field=models.PositiveBigIntegerField(db_default=0, verbose_name='cache write tokens (5 min)'),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='http_status',
                    field=models.PositiveSmallIntegerField(null=True, verbose_name='HTTP status'),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='model_preferred',
                    field=models.CharField(db_default='', help_text='The first choice, if another model served instead (downgrade or fallback).', max_length=100, verbose_name='preferred model'),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='model_requested',
                    field=models.CharField(db_default='', max_length=100, verbose_name='requested model'),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='note',
                    field=models.CharField(db_default='', help_text='For example, why the cost was estimated.', max_length=500),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='recorded_at',
                    field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), help_text='When the row was written. For late rows, this is well after the call.'),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='request_id',
                    field=models.UUIDField(primary_key=True, serialize=False, verbose_name='request ID'),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='run_id',
                    field=models.CharField(db_default='', max_length=256, verbose_name='run ID'),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='upstream_request_id',
                    field=models.CharField(db_default='', max_length=128, verbose_name='upstream request ID'),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='wire',
                    field=models.CharField(choices=[('anthropic', 'Anthropic'), ('openai', 'OpenAI')], max_length=10, verbose_name='API format'),
                ),
                migrations.AlterField(
                    model_name='webhookattempt',
                    name='duration_ms',
                    field=models.PositiveIntegerField(verbose_name='duration (ms)'),
                ),
                migrations.AlterField(
                    model_name='webhookattempt',
                    name='http_status',
                    field=models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='HTTP status'),
                ),
                migrations.AlterField(
                    model_name='webhookdelivery',
                    name='event_id',
                    field=models.CharField(max_length=100, verbose_name='event ID'),
                ),
                migrations.AlterField(
                    model_name='webhookendpoint',
                    name='slow_until',
                    field=models.DateTimeField(blank=True, editable=False, help_text='The receiver asked for a pause until this time.', null=True),
                ),
                migrations.AlterField(
                    model_name='webhookendpoint',
                    name='url',
                    field=models.CharField(help_text='https://…, or mailto:… to get emails instead.', max_length=2000, verbose_name='URL'),
                ),
            ],
        ),
    ]
