"""Note every change of the price list in the policy outbox."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_ledger"), ("tenants", "0004_policy_outbox")]
    operations = [
        migrations.RunSQL(
            "CREATE TRIGGER billing_modelprice_policy AFTER INSERT OR UPDATE OR DELETE ON billing_modelprice "
            "FOR EACH ROW EXECUTE FUNCTION tenants_note_policy_change('everyone')",
            "DROP TRIGGER billing_modelprice_policy ON billing_modelprice",
        )
    ]
