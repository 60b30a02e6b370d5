import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0022_json_encoder'),
        ('routing', '0005_plain_help_texts'),
        ('tenants', '0014_plain_help_texts'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        # Words alone: no column changes, so the database is not asked to lock anything.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name='adjustment',
                    name='expires_at',
                    field=models.DateTimeField(blank=True, help_text='Budget grants only.', null=True),
                ),
                migrations.AlterField(
                    model_name='adjustment',
                    name='period_start',
                    field=models.DateField(help_text='The billing period it counts in.'),
                ),
                migrations.AlterField(
                    model_name='adjustment',
                    name='reference',
                    field=models.CharField(blank=True, default='', help_text='Your reference. Used to prevent double booking.', max_length=200),
                ),
                migrations.AlterField(
                    model_name='adjustment',
                    name='request_id',
                    field=models.UUIDField(blank=True, help_text='The call that was settled late.', null=True),
                ),
                migrations.AlterField(
                    model_name='billcheck',
                    name='difference_usd',
                    field=models.GeneratedField(db_persist=True, expression=django.db.models.expressions.CombinedExpression(models.F('billed_usd'), '-', models.F('booked_usd')), help_text='Positive if the upstream billed more than the ledger has.', output_field=models.DecimalField(decimal_places=9, max_digits=24)),
                ),
                migrations.AlterField(
                    model_name='billcheck',
                    name='model',
                    field=models.CharField(help_text="The upstream's name for the model.", max_length=100),
                ),
                migrations.AlterField(
                    model_name='budgetalert',
                    name='rearmed_at',
                    field=models.DateTimeField(blank=True, help_text='When spend dropped below the threshold again.', null=True),
                ),
                migrations.AlterField(
                    model_name='modelprice',
                    name='context_over_tokens',
                    field=models.PositiveIntegerField(blank=True, help_text='If set, the price applies to inputs longer than this.', null=True),
                ),
                migrations.AlterField(
                    model_name='modelprice',
                    name='model',
                    field=models.ForeignKey(blank=True, help_text='If empty, the default price for models without their own.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='prices', to='routing.model'),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='model_preferred',
                    field=models.CharField(db_default='', help_text='The first choice, if another model served instead (downgrade or fallback).', max_length=100),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='recorded_at',
                    field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), help_text='When the row was written. Later than the call for late rows.'),
                ),
                migrations.AlterField(
                    model_name='usagerecord',
                    name='saved_usd',
                    field=models.DecimalField(db_default=0, decimal_places=9, help_text='How much more the same tokens would have cost without the downgrade.', max_digits=20, verbose_name='saved (USD)'),
                ),
                migrations.AlterField(
                    model_name='webhookendpoint',
                    name='alert_address',
                    field=models.BooleanField(default=False, editable=False, help_text='Created for an alert address of the tenant or operator.'),
                ),
                migrations.AlterField(
                    model_name='webhookendpoint',
                    name='events',
                    field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=50), blank=True, default=list, help_text='Event types. If empty, all events are sent.', size=None),
                ),
                migrations.AlterField(
                    model_name='webhookendpoint',
                    name='slow_until',
                    field=models.DateTimeField(blank=True, editable=False, help_text='The receiver asked for no deliveries before this time.', null=True),
                ),
                migrations.AlterField(
                    model_name='webhookendpoint',
                    name='tenant',
                    field=models.ForeignKey(blank=True, help_text='If empty, the endpoint belongs to the operator.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='webhooks', to='tenants.tenant'),
                ),
                migrations.AlterField(
                    model_name='webhookendpoint',
                    name='url',
                    field=models.CharField(help_text='https://… or mailto:… to get emails instead', max_length=2000, verbose_name='URL'),
                ),
                migrations.AlterConstraint(
                    model_name='adjustment',
                    name='billing_adjustment_reference_once',
                    constraint=models.UniqueConstraint(condition=models.Q(('reference', ''), _negated=True), fields=('tenant', 'kind', 'reference'), name='billing_adjustment_reference_once', violation_error_message='This reference is already booked.'),
                ),
                migrations.AlterConstraint(
                    model_name='adjustment',
                    name='billing_adjustment_only_grants_expire',
                    constraint=models.CheckConstraint(condition=models.Q(models.Q(('expires_at__isnull', False), ('kind', 'grant')), models.Q(models.Q(('kind', 'grant'), _negated=True), ('expires_at', None)), _connector='OR'), name='billing_adjustment_only_grants_expire', violation_error_message='A budget grant needs an expiry date. Only grants can expire.'),
                ),
            ],
        ),
    ]
