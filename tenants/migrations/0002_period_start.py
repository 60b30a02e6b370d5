"""The period a moment falls into, in SQL, so that lists can be filtered and sorted by a tenant's spend."""

from django.db import migrations

CREATE = """
CREATE FUNCTION tenants_period_start(moment timestamptz, zone text, billing_day integer) RETURNS date
LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    -- The billing day of this month, or of the last one before it has come; a day the month lacks is its last.
    SELECT CASE WHEN local >= this THEN this ELSE last END
    FROM (
        SELECT local,
               first + (least(billing_day, extract(day FROM first + interval '1 month -1 day')::integer) - 1) AS this,
               before + (least(billing_day, extract(day FROM before + interval '1 month -1 day')::integer) - 1) AS last
        FROM (
            SELECT local,
                   date_trunc('month', local)::date AS first,
                   (date_trunc('month', local) - interval '1 month')::date AS before
            FROM (SELECT (moment AT TIME ZONE zone)::date AS local) AS today
        ) AS months
    ) AS candidates
$$
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]
    operations = [
        migrations.RunSQL(CREATE, "DROP FUNCTION tenants_period_start(timestamptz, text, integer)"),
    ]
