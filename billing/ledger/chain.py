"""The ledger's hash chain: each batch of rows carries the hash of the batch before it, one chain a shard.

PostgreSQL computes a row's hash from its stored columns, both when the batch is sealed and when it is verified
(`verify.py`). Columns added since the chain began are not covered, or old batches would no longer verify.
"""

from django.db.backends.utils import CursorWrapper

GENESIS = "0" * 64
_LOCK = 0x6C656467  # class of the advisory locks; the shard is the other half
# Only numbers and strings, since a session's settings decide how dates and times are printed. `created_at` is not
# covered: it is a function of the id, and rows are looked up by both.
ROW_HASH = """sha256(convert_to(ROW(
    row.request_id, encode(timestamptz_send(row.recorded_at), 'hex'), row.tenant_id, row.api_key_id,
    row.day - DATE '1970-01-01', row.period_start - DATE '1970-01-01',
    row.end_user, row.session, row.run_id, row.wire, row.model_requested, row.model, row.route, row.stream,
    row.status, row.http_status, row.input_tokens, row.output_tokens, row.cache_read_tokens,
    row.cache_write_5m_tokens, row.cache_write_1h_tokens, row.web_searches, row.cost_usd,
    row.upstream_cost_usd, row.price_id, row.estimated, row.latency_ms, row.ttft_ms,
    row.upstream_request_id, row.tags, row.note)::text, 'UTF8'))"""


def batch_hash(*, shard: str, number: str, previous: str, rows: str) -> str:
    """The SQL expression of a batch's hash, made of SQL expressions."""
    return (
        f"encode(sha256(convert_to({shard} || ':' || {number} || ':' || {previous} || ':', 'UTF8') "
        f"|| {rows}), 'hex')"
    )


def take_turn(cursor: CursorWrapper, shard: int) -> None:
    """Lock the shard's chain until this transaction ends, so that one batch is sealed at a time. Before `sealing`."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK, shard])


def sealing(rows: str) -> str:
    """CTEs that seal the rows of the CTE `rows`, if there are any, as the next batch of shard `%(shard)s`.

    Ids and hashes are in the order in which the rows come: sorting them would cost a tenth more.
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
