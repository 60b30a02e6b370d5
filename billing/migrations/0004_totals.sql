-- Sums of the roll-up, kept by its own triggers, so that they are right whoever writes it: a tenant's period (for
-- lists of ten thousand tenants) and the installation's day (for the dashboard). A statement trigger sees all rows
-- of a batch at once; an upsert fires the insert's and the update's, each with its own rows.

CREATE FUNCTION billing_negate_counts(counts bigint[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ARRAY(SELECT -count FROM unnest(counts) WITH ORDINALITY AS bucket (count, position) ORDER BY position)
$$;

-- Rows are taken in the order of the unique key, so that two writers can't lock each other out.
CREATE FUNCTION billing_add_to_totals(added billing_dailyusage[], removed billing_dailyusage[]) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO billing_periodusage AS total (tenant_id, period_start, requests, cost_usd, upstream_cost_usd)
    SELECT tenant_id, period_start, sum(sign * requests), sum(sign * cost_usd), sum(sign * upstream_cost_usd)
    FROM (SELECT 1 AS sign, * FROM unnest(added) UNION ALL SELECT -1, * FROM unnest(removed)) AS change
    GROUP BY tenant_id, period_start
    ORDER BY tenant_id, period_start
    ON CONFLICT (tenant_id, period_start) DO UPDATE SET
        requests = total.requests + EXCLUDED.requests,
        cost_usd = total.cost_usd + EXCLUDED.cost_usd,
        upstream_cost_usd = total.upstream_cost_usd + EXCLUDED.upstream_cost_usd;

    INSERT INTO billing_dailytotal AS total
        (day, slice, model, status, requests, cost_usd, upstream_cost_usd, latency_buckets, ttft_buckets)
    SELECT day, tenant_id % 16, model, status,
           sum(sign * requests), sum(sign * cost_usd), sum(sign * upstream_cost_usd),
           billing_sum_counts(CASE sign WHEN 1 THEN latency_buckets ELSE billing_negate_counts(latency_buckets) END),
           billing_sum_counts(CASE sign WHEN 1 THEN ttft_buckets ELSE billing_negate_counts(ttft_buckets) END)
    FROM (SELECT 1 AS sign, * FROM unnest(added) UNION ALL SELECT -1, * FROM unnest(removed)) AS change
    GROUP BY day, tenant_id % 16, model, status
    ORDER BY day, tenant_id % 16, model, status
    ON CONFLICT (day, slice, model, status) DO UPDATE SET
        requests = total.requests + EXCLUDED.requests,
        cost_usd = total.cost_usd + EXCLUDED.cost_usd,
        upstream_cost_usd = total.upstream_cost_usd + EXCLUDED.upstream_cost_usd,
        latency_buckets = billing_add_counts(total.latency_buckets, EXCLUDED.latency_buckets),
        ttft_buckets = billing_add_counts(total.ttft_buckets, EXCLUDED.ttft_buckets);
$$;

CREATE FUNCTION billing_total_daily_usage() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    added billing_dailyusage[];
    removed billing_dailyusage[];
BEGIN
    IF TG_OP <> 'DELETE' THEN
        added := ARRAY(SELECT new_rows FROM new_rows);
    END IF;
    IF TG_OP <> 'INSERT' THEN
        removed := ARRAY(SELECT old_rows FROM old_rows);
    END IF;
    IF cardinality(added) > 0 OR cardinality(removed) > 0 THEN
        PERFORM billing_add_to_totals(added, removed);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER billing_dailyusage_totals_insert AFTER INSERT ON billing_dailyusage
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION billing_total_daily_usage();
CREATE TRIGGER billing_dailyusage_totals_update AFTER UPDATE ON billing_dailyusage
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION billing_total_daily_usage();
CREATE TRIGGER billing_dailyusage_totals_delete AFTER DELETE ON billing_dailyusage
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION billing_total_daily_usage();

SELECT billing_add_to_totals(ARRAY(SELECT usage FROM billing_dailyusage AS usage), NULL);
