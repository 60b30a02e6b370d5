import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('routing', '0005_plain_help_texts'),
    ]

    operations = [
        # Words alone: no column changes, so the database is not asked to lock anything.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name='complexityrule',
                    name='shadow',
                    field=models.BooleanField(default=False, help_text='Evaluated but not enforced. Requests it would have routed differently are counted. A shadow threshold can exist beside the active one.', verbose_name='shadow mode'),
                ),
                migrations.AlterField(
                    model_name='complexityrule',
                    name='value',
                    field=models.PositiveIntegerField(blank=True, help_text='Thresholds only: the maximum for a simple request.', null=True),
                ),
                migrations.AlterField(
                    model_name='model',
                    name='aliases',
                    field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), blank=True, default=list, help_text="Other names used in the upstream's responses and in price lists.", size=None),
                ),
                migrations.AlterField(
                    model_name='model',
                    name='downgrade_to',
                    field=models.ForeignKey(blank=True, help_text='Cheaper model that serves requests once a tenant reaches its downgrade threshold.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='downgraded_from', to='routing.model'),
                ),
                migrations.AlterField(
                    model_name='model',
                    name='embeds',
                    field=models.BooleanField(default=False, help_text='Serves /v1/embeddings instead of generating text.', verbose_name='embedding model'),
                ),
                migrations.AlterConstraint(
                    model_name='model',
                    name='routing_model_embeddings_stay',
                    constraint=models.CheckConstraint(condition=models.Q(('embeds', False), models.Q(('downgrade_to', None), ('fallback_to', None)), _connector='OR'), name='routing_model_embeddings_stay', violation_error_message='Embeddings of different models cannot be compared, so no other can take over.'),
                ),
            ],
        ),
    ]
