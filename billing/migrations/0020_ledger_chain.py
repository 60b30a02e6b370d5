"""What a batch of the hash chain holds of each row."""

from django.db import migrations, models

# Hashes and random ids don't compress; trying to would cost the drain.
_AS_IT_IS = "ALTER TABLE billing_ledgerbatch ALTER row_hashes SET STORAGE EXTERNAL, ALTER request_ids SET STORAGE EXTERNAL"


class Migration(migrations.Migration):
    dependencies = [("billing", "0019_downgraded_cost")]
    operations = [
        migrations.AddField(
            model_name="ledgerbatch", name="row_hashes", field=models.BinaryField(default=b"")
        ),
        migrations.RunSQL(_AS_IT_IS, migrations.RunSQL.noop),
    ]
