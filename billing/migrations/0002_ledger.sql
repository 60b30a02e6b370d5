-- The ledger: range-partitioned by month of created_at, append-only.
--
-- The primary key must contain the partition column. It still makes a request id unique, because the check
-- below makes created_at a function of the id (a UUIDv7 starts with its milliseconds since 1970).

CREATE FUNCTION billing_request_time(request_id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT to_timestamp(('x' || left(replace(request_id::text, '-', ''), 12))::bit(48)::bigint / 1000.0)
$$;

CREATE TABLE billing_usagerecord (
    request_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    tenant_id bigint NOT NULL,
    api_key_id bigint,
    day date NOT NULL,
    period_start date NOT NULL,
    end_user varchar(256) NOT NULL DEFAULT '',
    session varchar(256) NOT NULL DEFAULT '',
    run_id varchar(256) NOT NULL DEFAULT '',
    wire varchar(10) NOT NULL,
    model_requested varchar(100) NOT NULL DEFAULT '',
    model varchar(100) NOT NULL,
    route varchar(100) NOT NULL DEFAULT '',
    stream boolean NOT NULL DEFAULT false,
    status varchar(20) NOT NULL,
    http_status smallint CHECK (http_status >= 0),
    input_tokens bigint NOT NULL DEFAULT 0 CHECK (input_tokens >= 0),
    output_tokens bigint NOT NULL DEFAULT 0 CHECK (output_tokens >= 0),
    cache_read_tokens bigint NOT NULL DEFAULT 0 CHECK (cache_read_tokens >= 0),
    cache_write_5m_tokens bigint NOT NULL DEFAULT 0 CHECK (cache_write_5m_tokens >= 0),
    cache_write_1h_tokens bigint NOT NULL DEFAULT 0 CHECK (cache_write_1h_tokens >= 0),
    web_searches integer NOT NULL DEFAULT 0 CHECK (web_searches >= 0),
    cost_usd numeric(20, 9) NOT NULL,
    upstream_cost_usd numeric(20, 9) NOT NULL,
    price_id bigint,
    estimated boolean NOT NULL DEFAULT false,
    latency_ms integer CHECK (latency_ms >= 0),
    ttft_ms integer CHECK (ttft_ms >= 0),
    upstream_request_id varchar(128) NOT NULL DEFAULT '',
    tags jsonb NOT NULL DEFAULT '{}',
    note varchar(500) NOT NULL DEFAULT '',
    CONSTRAINT billing_usagerecord_pkey PRIMARY KEY (request_id, created_at),
    CONSTRAINT billing_usagerecord_time_is_the_ids CHECK (created_at = billing_request_time(request_id)),
    CONSTRAINT billing_usagerecord_cost_not_negative CHECK (cost_usd >= 0 AND upstream_cost_usd >= 0),
    CONSTRAINT billing_usagerecord_status_is_known
        CHECK (status IN ('ok', 'upstream_error', 'cancelled', 'orphaned'))
) PARTITION BY RANGE (created_at);

CREATE INDEX billing_usage_newest ON billing_usagerecord (created_at DESC);
CREATE INDEX billing_usage_tenant ON billing_usagerecord (tenant_id, created_at DESC);
CREATE INDEX billing_usage_key ON billing_usagerecord (api_key_id, created_at DESC);
CREATE INDEX billing_usage_model ON billing_usagerecord (model, created_at DESC);
CREATE INDEX billing_usage_faults ON billing_usagerecord (status, created_at DESC) WHERE NOT status = 'ok';

-- Rows of a month nobody made a partition for land here, so that none is ever refused.
CREATE TABLE billing_usagerecord_default PARTITION OF billing_usagerecord DEFAULT;

CREATE FUNCTION billing_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % refused: %', lower(TG_OP), TG_TABLE_NAME, TG_ARGV[0]
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER billing_usagerecord_append_only BEFORE UPDATE OR DELETE ON billing_usagerecord
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change('the ledger is append-only; add an adjustment');

CREATE TRIGGER billing_ledgerbatch_append_only BEFORE UPDATE OR DELETE ON billing_ledgerbatch
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change('the chain is append-only');

CREATE TRIGGER billing_modelprice_never_edited BEFORE UPDATE ON billing_modelprice
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change('prices are superseded, never edited');

-- A price that is not in force yet may be taken back.
CREATE TRIGGER billing_modelprice_never_removed BEFORE DELETE ON billing_modelprice
    FOR EACH ROW WHEN (OLD.effective_from <= statement_timestamp())
    EXECUTE FUNCTION billing_refuse_change('a price that was in force is kept');

CREATE TRIGGER billing_statement_frozen BEFORE UPDATE OR DELETE ON billing_statement
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change('a closed month is frozen');

-- An adjustment only ever learns which statement it went to.
CREATE TRIGGER billing_adjustment_never_edited BEFORE UPDATE ON billing_adjustment
    FOR EACH ROW WHEN (to_jsonb(OLD) - 'statement_id' IS DISTINCT FROM to_jsonb(NEW) - 'statement_id')
    EXECUTE FUNCTION billing_refuse_change('book another adjustment instead');
CREATE TRIGGER billing_adjustment_never_removed BEFORE DELETE ON billing_adjustment
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change('book another adjustment instead');

-- Partitions for `months` months from that of `first` on (UTC); says how many were made. Rows the default
-- partition has caught for a month are moved into it. The lock makes two callers wait for each other.
CREATE FUNCTION billing_make_partitions(first date, months integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    lower_bound timestamptz;
    upper_bound timestamptz;
    partition text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('billing_make_partitions'));
    FOR n IN 0 .. months - 1 LOOP
        lower_bound := (date_trunc('month', first::timestamp) + make_interval(months => n)) AT TIME ZONE 'UTC';
        upper_bound := (date_trunc('month', first::timestamp) + make_interval(months => n + 1)) AT TIME ZONE 'UTC';
        partition := 'billing_usagerecord_' || to_char(lower_bound AT TIME ZONE 'UTC', '"y"YYYY"m"MM');
        CONTINUE WHEN to_regclass(partition) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE billing_usagerecord INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition);
        IF EXISTS (SELECT FROM billing_usagerecord_default
                   WHERE created_at >= lower_bound AND created_at < upper_bound) THEN
            ALTER TABLE billing_usagerecord_default DISABLE TRIGGER billing_usagerecord_append_only;
            EXECUTE format(
                'WITH moved AS (DELETE FROM billing_usagerecord_default
                                WHERE created_at >= %L AND created_at < %L RETURNING *)
                 INSERT INTO %I SELECT * FROM moved', lower_bound, upper_bound, partition);
            ALTER TABLE billing_usagerecord_default ENABLE TRIGGER billing_usagerecord_append_only;
        END IF;
        EXECUTE format('ALTER TABLE billing_usagerecord ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       partition, lower_bound, upper_bound);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

-- Latency histograms: bucket by bucket, NULL is nothing measured.
CREATE FUNCTION billing_add_counts(a bigint[], b bigint[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN a IS NULL THEN b WHEN b IS NULL THEN a ELSE
        ARRAY(SELECT COALESCE(x, 0) + COALESCE(y, 0)
              FROM unnest(a, b) WITH ORDINALITY AS pairs(x, y, position) ORDER BY position) END
$$;
CREATE AGGREGATE billing_sum_counts(bigint[]) (
    SFUNC = billing_add_counts, STYPE = bigint[], COMBINEFUNC = billing_add_counts, PARALLEL = SAFE
);

SELECT billing_make_partitions(((now() AT TIME ZONE 'UTC') - interval '3 months')::date, 7);
