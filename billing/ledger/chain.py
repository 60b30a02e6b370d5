"""The ledger's hash chain: each batch of rows carries the hash of the one before it, one chain a shard.

A row's hash covers every column, so PostgreSQL computes it from the row as it was stored, both when the batch
is sealed and when it is verified (`verify.py`). A column that is added later stays out of it, or old batches
would no longer verify.
"""

from django.db.backends.utils import CursorWrapper

GENESIS = "0" * 64
_LOCK = 0x6C656467  # of the advisory locks by shard
# Numbers and quoted texts only: how a session prints dates, times and zones must not matter. `created_at` is a
# function of the id, and rows are looked for by both.
ROW_HASH = """sha256(convert_to(ROW(
    row.request_id, encode(timestamptz_send(row.recorded_at), 'hex'), row.tenant_id, row.api_key_id,
    row.day - DATE '1970-01-01', row.period_start - DATE '1970-01-01',
    row.end_user, row.session, row.run_id, row.wire, row.model_requested, row.model, row.route, row.stream,
    row.status, row.http_status, row.input_tokens, row.output_tokens, row.cache_read_tokens,
    row.cache_write_5m_tokens, row.cache_write_1h_tokens, row.web_searches, row.cost_usd,
    row.upstream_cost_usd, row.price_id, row.estimated, row.latency_ms, row.ttft_ms,
    row.upstream_request_id, row.tags, row.note)::text, 'UTF8'))"""


def batch_hash(*, shard: str, number: str, previous: str, rows: str) -> str:
    """The hash of a batch as an SQL expression over expressions."""
    return (
        f"encode(sha256(convert_to({shard} || ':' || {number} || ':' || {previous} || ':', 'UTF8') "
        f"|| {rows}), 'hex')"
    )


def take_turn(cursor: CursorWrapper, shard: int) -> None:
    """Wait for whoever seals a batch of this shard, to the end of this transaction. Before `sealing`."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK, shard])


def sealing(rows: str) -> str:
    """CTEs that seal the ledger rows of the CTE `rows` as the next batch of shard `%(shard)s`, if any.

    Ids and hashes are in the order the rows come in, whatever it is: sorting them would cost a tenth of it.
    """
    number, previous = "coalesce(last.number, 0) + 1", f"coalesce(last.hash, '{GENESIS}')"
    made = batch_hash(shard="%(shard)s::int", number=f"({number})", previous=previous, rows="batch.hashes")
    return f"""
    hashed AS (SELECT row.request_id, {ROW_HASH} AS hash FROM {rows} AS row),
    batch AS (
        SELECT count(*) AS rows, array_agg(request_id) AS ids, string_agg(hash, ''::bytea) AS hashes
        FROM hashed HAVING count(*) > 0
    ), last AS (
        SELECT number, hash FROM billing_ledgerbatch WHERE shard = %(shard)s ORDER BY number DESC LIMIT 1
    ), sealed AS (
        INSERT INTO billing_ledgerbatch (shard, number, previous_hash, hash, rows, request_ids, row_hashes)
        SELECT %(shard)s, {number}, {previous}, {made}, batch.rows, batch.ids, batch.hashes
        FROM batch LEFT JOIN last ON true
    )"""  # noqa: S608 - our own names
