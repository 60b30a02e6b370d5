import django.contrib.postgres.fields
import django.core.validators
import tenants.models.tenant
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('routing', '0006_wording'),
        ('tenants', '0014_plain_help_texts'),
    ]

    operations = [
        # Words alone: no column changes, so the database is not asked to lock anything.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterModelOptions(
                    name='membership',
                    options={'ordering': ['tenant', 'user'], 'verbose_name': 'portal member'},
                ),
                migrations.AlterField(
                    model_name='invitation',
                    name='role',
                    field=models.CharField(choices=[('viewer', 'Viewer: sees usage and spend'), ('developer', 'Developer: also creates and revokes keys'), ('owner', 'Owner: also invites people and sets up webhooks')], default='viewer', max_length=10),
                ),
                migrations.AlterField(
                    model_name='membership',
                    name='role',
                    field=models.CharField(choices=[('viewer', 'Viewer: sees usage and spend'), ('developer', 'Developer: also creates and revokes keys'), ('owner', 'Owner: also invites people and sets up webhooks')], default='viewer', max_length=10),
                ),
                migrations.AlterField(
                    model_name='secondfactor',
                    name='last_t',
                    field=models.BigIntegerField(default=-1, editable=False, help_text='The time step of the last code. No code is accepted twice.'),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='alert_emails',
                    field=django.contrib.postgres.fields.ArrayField(base_field=models.EmailField(max_length=254), blank=True, default=list, help_text='Alerts are also emailed to these addresses.', size=None),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='billing_day',
                    field=models.PositiveSmallIntegerField(default=1, help_text='Day of the month on which the billing period starts. In shorter months, 29 to 31 mean the last day.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(31)]),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='budget_mode',
                    field=models.CharField(choices=[('hard', 'Hard: refuse requests at the budget'), ('soft', 'Soft: only send alerts'), ('prepaid', 'Prepaid: a balance that does not reset')], default='hard', max_length=10),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='disconnect_policy',
                    field=models.CharField(choices=[('cancel', 'Cancel the upstream call'), ('drain', 'Read the response to the end for exact usage')], default='cancel', max_length=10, verbose_name='if the caller disconnects'),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='note',
                    field=models.TextField(blank=True, help_text='Visible to staff only.'),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='slug',
                    field=models.SlugField(max_length=63, unique=True, validators=[django.core.validators.RegexValidator('^[a-z0-9]([a-z0-9-]*[a-z0-9])?\\Z', 'Use lowercase letters, digits and hyphens.')]),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='timezone',
                    field=models.CharField(default='UTC', max_length=64, validators=[tenants.models.tenant.validate_timezone], verbose_name='time zone'),
                ),
                migrations.AlterField(
                    model_name='tier',
                    name='default_models',
                    field=models.ManyToManyField(blank=True, help_text='Models that new tenants start with. Existing tenants do not change.', related_name='+', to='routing.model'),
                ),
                migrations.AlterField(
                    model_name='tier',
                    name='upstream_weight',
                    field=models.PositiveSmallIntegerField(default=1, help_text='When upstream capacity is short, a tenant with weight 3 gets three times the share of weight 1.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100)], verbose_name='upstream share'),
                ),
            ],
        ),
    ]
