"""Triggers that note every change of a policy in the outbox, whoever made it and however."""

from django.db import migrations

FUNCTION = """
CREATE FUNCTION tenants_note_policy_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - 'last_used_at' - 'updated_at' END;
    now_is jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - 'last_used_at' - 'updated_at' END;
BEGIN
    IF was IS DISTINCT FROM now_is THEN
        INSERT INTO tenants_policychange (tenant_id, source)
        VALUES ((COALESCE(now_is, was) ->> TG_ARGV[0])::bigint, TG_TABLE_NAME);
        PERFORM pg_notify('policy', TG_TABLE_NAME);
    END IF;
    RETURN NULL;
END $$;
"""
TABLES = {
    "tenants_tier": "everyone",
    "tenants_tierroute": "everyone",
    "tenants_tenant": "id",
    "tenants_allowedmodel": "tenant_id",
    "tenants_apikey": "tenant_id",
    "routing_model": "everyone",
    "routing_complexityrule": "everyone",
}


def trigger(table: str, column: str) -> migrations.RunSQL:
    return migrations.RunSQL(
        f"CREATE TRIGGER {table}_policy AFTER INSERT OR UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION tenants_note_policy_change('{column}')",
        f"DROP TRIGGER {table}_policy ON {table}",
    )


class Migration(migrations.Migration):
    dependencies = [("tenants", "0003_roles"), ("routing", "0001_initial")]
    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION tenants_note_policy_change()"),
        *(trigger(table, column) for table, column in TABLES.items()),
    ]
