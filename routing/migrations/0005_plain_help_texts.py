import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import routing.models.upstream
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('routing', '0004_rules_in_shadow'),
    ]

    operations = [
        # Words alone: no column changes, so the database is not asked to lock anything.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name='complexityrule',
                    name='shadow',
                    field=models.BooleanField(default=False, help_text='Evaluated but not enforced: what it would have routed differently is counted. A shadow threshold can exist beside the active one.', verbose_name='shadow mode'),
                ),
                migrations.AlterField(
                    model_name='complexityrule',
                    name='subject',
                    field=models.CharField(help_text='Keyword: a lowercase phrase. Threshold: max_simple_bytes, max_simple_messages, max_simple_tools.', max_length=100),
                ),
                migrations.AlterField(
                    model_name='complexityrule',
                    name='value',
                    field=models.PositiveIntegerField(blank=True, help_text='Thresholds only: the most that a simple request can have.', null=True),
                ),
                migrations.AlterField(
                    model_name='model',
                    name='aliases',
                    field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), blank=True, default=list, help_text="Other names used in the upstream's answers and in price lists.", size=None),
                ),
                migrations.AlterField(
                    model_name='model',
                    name='downgrade_to',
                    field=models.ForeignKey(blank=True, help_text='Cheaper model that serves once a tenant reaches its downgrade threshold.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='downgraded_from', to='routing.model'),
                ),
                migrations.AlterField(
                    model_name='model',
                    name='embeds',
                    field=models.BooleanField(default=False, help_text='Serves /v1/embeddings instead of text.', verbose_name='makes embeddings'),
                ),
                migrations.AlterField(
                    model_name='model',
                    name='enabled',
                    field=models.BooleanField(default=True, help_text='Requests for a disabled model are refused.'),
                ),
                migrations.AlterField(
                    model_name='model',
                    name='fallback_to',
                    field=models.ForeignKey(blank=True, help_text='Model to try when the upstream cannot serve this one.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='fallback_from', to='routing.model'),
                ),
                migrations.AlterField(
                    model_name='model',
                    name='name',
                    field=models.CharField(help_text='Name that tenants use in requests.', max_length=100, unique=True),
                ),
                migrations.AlterField(
                    model_name='upstream',
                    name='api_key',
                    field=models.TextField(help_text='Write-only: encrypted when saved.', validators=[django.core.validators.RegexValidator('^\\S+$', 'An API key cannot contain spaces.')]),
                ),
                migrations.AlterField(
                    model_name='upstream',
                    name='priority',
                    field=models.PositiveSmallIntegerField(default=10, help_text='Upstreams with a lower number are tried first.'),
                ),
                migrations.AlterField(
                    model_name='upstream',
                    name='wires',
                    field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('anthropic', 'Anthropic'), ('openai', 'OpenAI')], max_length=20), default=routing.models.upstream.every_wire, help_text='API formats this upstream accepts.', size=None, verbose_name='API formats'),
                ),
                migrations.AlterConstraint(
                    model_name='complexityrule',
                    name='routing_complexityrule_fits_its_kind',
                    constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind', 'threshold'), ('subject__in', ['max_simple_bytes', 'max_simple_messages', 'max_simple_tools']), ('value__isnull', False)), models.Q(('kind', 'keyword'), ('value', None), models.Q(('subject', ''), _negated=True)), _connector='OR'), name='routing_complexityrule_fits_its_kind', violation_error_message='A threshold needs a known subject and a value. A keyword has no value.'),
                ),
                migrations.AlterConstraint(
                    model_name='model',
                    name='routing_model_embeddings_stay',
                    constraint=models.CheckConstraint(condition=models.Q(('embeds', False), models.Q(('downgrade_to', None), ('fallback_to', None)), _connector='OR'), name='routing_model_embeddings_stay', violation_error_message='Embeddings of different models cannot be compared: no other can take over.'),
                ),
            ],
        ),
    ]
