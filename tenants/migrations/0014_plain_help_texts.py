import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.text
from decimal import Decimal
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('routing', '0005_plain_help_texts'),
        ('tenants', '0013_email'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        # Words alone: no column changes, so the database is not asked to lock anything.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name='policychange',
                    name='applied_at',
                    field=models.DateTimeField(blank=True, help_text='When the change was announced to Redis.', null=True),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='alert_emails',
                    field=django.contrib.postgres.fields.ArrayField(base_field=models.EmailField(max_length=254), blank=True, default=list, help_text='Also emailed these alerts.', size=None),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='allowed_models',
                    field=models.ManyToManyField(blank=True, help_text='If empty, no model is allowed.', related_name='tenants', through='tenants.AllowedModel', to='routing.model'),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='billing_day',
                    field=models.PositiveSmallIntegerField(default=1, help_text='Day of the month on which its billing period starts. In shorter months, 29 to 31 mean the last day.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(31)]),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='default_model',
                    field=models.ForeignKey(blank=True, help_text='Used when a request names no model. If empty, the model is chosen by complexity.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='default_of', to='routing.model'),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='disconnect_policy',
                    field=models.CharField(choices=[('cancel', 'Cancel the upstream call'), ('drain', 'Read to the end for exact usage')], default='cancel', max_length=10),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='downgrade_percent',
                    field=models.PositiveSmallIntegerField(blank=True, help_text='Share of spent budget at which cheaper models take over.', null=True, validators=[django.core.validators.MaxValueValidator(100)], verbose_name='downgrade at (%)'),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='downgrade_release_percent',
                    field=models.PositiveSmallIntegerField(blank=True, help_text='Cheaper models keep serving until spend is below this share, after a top-up or a raised budget. If empty, ten points below the threshold.', null=True, validators=[django.core.validators.MaxValueValidator(100)], verbose_name='downgrade until below (%)'),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='margin_percent',
                    field=models.DecimalField(blank=True, decimal_places=3, help_text='Added to the cost price. Budgets count the sell price.', max_digits=7, null=True, validators=[django.core.validators.MinValueValidator(Decimal('-100')), django.core.validators.MaxValueValidator(Decimal('1000'))], verbose_name='margin (%)'),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='shadow_tier',
                    field=models.ForeignKey(blank=True, help_text='Its limits and routes are evaluated but not enforced. What they would have refused or routed differently is counted.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='tenants.tier', verbose_name='shadow tier'),
                ),
                migrations.AlterField(
                    model_name='tenant',
                    name='slug',
                    field=models.SlugField(max_length=63, unique=True, validators=[django.core.validators.RegexValidator('^[a-z0-9]([a-z0-9-]*[a-z0-9])?\\Z', 'Lowercase letters, digits and hyphens.')]),
                ),
                migrations.AlterField(
                    model_name='tier',
                    name='default_models',
                    field=models.ManyToManyField(blank=True, help_text='Models that new tenants start with. Existing tenants are not changed.', related_name='+', to='routing.model'),
                ),
                migrations.AlterField(
                    model_name='tier',
                    name='downgrade_percent',
                    field=models.PositiveSmallIntegerField(default=90, help_text='Share of spent budget at which cheaper models take over.', validators=[django.core.validators.MaxValueValidator(100)], verbose_name='downgrade at (%)'),
                ),
                migrations.AlterField(
                    model_name='tier',
                    name='downgrade_release_percent',
                    field=models.PositiveSmallIntegerField(blank=True, help_text='Cheaper models keep serving until spend is below this share, after a top-up or a raised budget. If empty, ten points below the threshold.', null=True, validators=[django.core.validators.MaxValueValidator(100)], verbose_name='downgrade until below (%)'),
                ),
                migrations.AlterField(
                    model_name='tier',
                    name='margin_percent',
                    field=models.DecimalField(decimal_places=3, default=Decimal('0'), help_text='Added to the cost price. Budgets count the sell price.', max_digits=7, validators=[django.core.validators.MinValueValidator(Decimal('-100')), django.core.validators.MaxValueValidator(Decimal('1000'))], verbose_name='margin (%)'),
                ),
                migrations.AlterField(
                    model_name='tier',
                    name='shadow_tier',
                    field=models.ForeignKey(blank=True, help_text='Its limits and routes are evaluated but not enforced. What they would have refused or routed differently is counted.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='tenants.tier', verbose_name='shadow tier'),
                ),
                migrations.AlterField(
                    model_name='tierdowngrade',
                    name='target',
                    field=models.ForeignKey(blank=True, help_text='If empty, this model is not downgraded.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='routing.model'),
                ),
                migrations.AlterConstraint(
                    model_name='invitation',
                    name='tenants_invitation_one_open_per_person',
                    constraint=models.UniqueConstraint(models.F('tenant'), django.db.models.functions.text.Lower('email'), condition=models.Q(('accepted_at', None)), name='tenants_invitation_one_open_per_person', violation_error_message='This person already has an open invitation.'),
                ),
            ],
        ),
    ]
