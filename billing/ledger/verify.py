"""Verify that the ledger is as it was sealed: no row changed, removed or inserted, no batch cut out of a chain.

PostgreSQL hashes the rows again, a batch at a time, and returns only verdicts. All of it happens in one snapshot, so
the drain may go on meanwhile.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from billing.ledger.chain import GENESIS, ROW_HASH, batch_hash, sealing, take_turn

_ADOPTED_AT_ONCE = 10_000
_ITS_ROW = """billing_usagerecord row
    ON row.request_id = claimed.id AND row.created_at = billing_request_time(claimed.id)"""
_MADE_HASH = batch_hash(
    shard="batch.shard", number="batch.number", previous="batch.previous_hash", rows="batch.row_hashes"
)
# `verify` forces nested loops: the planner cannot know how short the arrays are, and would read the whole ledger for
# each batch.
_BATCHES = f"""
SELECT batch.number, batch.previous_hash, batch.hash, batch.rows,
       {_MADE_HASH},
       batch.row_hashes IS NOT DISTINCT FROM (
           SELECT string_agg({ROW_HASH}, ''::bytea ORDER BY claimed.position)
           FROM unnest(batch.request_ids) WITH ORDINALITY AS claimed (id, position) JOIN {_ITS_ROW})
FROM billing_ledgerbatch batch WHERE batch.shard = %s ORDER BY batch.number
"""  # noqa: S608 - our own names
_ONE_BATCH = f"""
SELECT claimed.id::text, row.request_id IS NULL,
       {ROW_HASH} = substr(batch.row_hashes, 32 * (claimed.position - 1)::int + 1, 32),
       EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'billing_usagerecord'::regclass AND inhrelid = to_regclass(
           to_char(billing_request_time(claimed.id) AT TIME ZONE 'UTC', '"billing_usagerecord_y"YYYY"m"MM')))
FROM billing_ledgerbatch batch
CROSS JOIN unnest(batch.request_ids) WITH ORDINALITY AS claimed (id, position) LEFT JOIN {_ITS_ROW}
WHERE batch.shard = %s AND batch.number = %s ORDER BY claimed.position
"""  # noqa: S608 - our own names
_UNSEALED = """
FROM billing_usagerecord record WHERE NOT EXISTS (
    SELECT FROM (SELECT unnest(request_ids) AS id FROM billing_ledgerbatch) AS claimed
    WHERE claimed.id = record.request_id)
"""


class Fault(msgspec.Struct, frozen=True):
    """A row that was `changed`, `removed` or `inserted`, or a `chain` whose batch is missing, rewritten or cut off."""

    kind: Literal["changed", "removed", "inserted", "chain"]
    shard: int | None
    batch: int | None
    request_id: str | None
    message: str


class Head(msgspec.Struct, frozen=True):
    """The last batch of a shard's chain. A copy kept elsewhere proves later that nothing before it was rewritten."""

    number: int
    hash: str


class ChainReport(msgspec.Struct):
    """What was verified, and the first fault of each shard.

    `archived` rows are in months that are no longer attached: only their hashes could be verified.
    """

    rows: int = 0
    batches: int = 0
    archived: int = 0
    heads: dict[str, Head] = {}
    faults: list[Fault] = []

    @property
    def ok(self) -> bool:
        return not self.faults


def verify(kept: Mapping[str, Head] | None = None) -> ChainReport:
    """Verify every batch and every row. `kept`: the heads of an earlier report, by shard, kept elsewhere."""
    verdict = ChainReport()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute(
            "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off"
        )
        cursor.execute("SELECT DISTINCT shard FROM billing_ledgerbatch")
        shards = {shard for (shard,) in cursor.fetchall()} | {int(shard) for shard in kept or {}}
        for shard in sorted(shards):
            fault = _verify_shard(cursor, shard, (kept or {}).get(str(shard)), verdict)
            if fault is not None:
                verdict.faults.append(fault)
        cursor.execute("SET LOCAL enable_hashjoin = on")
        cursor.execute("SELECT count(*) FROM billing_usagerecord")
        # Looking up every row is worth it only if the counts differ.
        if verdict.faults or cursor.fetchone()[0] != verdict.rows:
            verdict.faults += _inserted(cursor)
    return verdict


def _verify_shard(cursor: CursorWrapper, shard: int, kept: Head | None, verdict: ChainReport) -> Fault | None:
    """The first fault of a shard's chain. Adds what was verified before it to `verdict`."""
    last, previous, kept_is_there = 0, GENESIS, kept is None
    for number, claimed_previous, claimed_hash, rows, made_hash, intact in _batches(shard):
        if number != last + 1:
            return Fault("chain", shard, last + 1, None, f"batch {last + 1} is missing")
        if claimed_previous != previous or made_hash != claimed_hash:
            return Fault("chain", shard, number, None, f"batch {number} does not follow the batch before it")
        if intact:
            verdict.rows += rows
        else:
            fault, present = _look_closer(cursor, shard, number)
            if fault is not None:
                return fault
            verdict.rows += present
            verdict.archived += rows - present
        last, previous = number, claimed_hash
        kept_is_there = kept_is_there or (
            kept is not None and (number, claimed_hash) == (kept.number, kept.hash)
        )
        verdict.batches += 1
        verdict.heads[str(shard)] = Head(number, claimed_hash)
    if not kept_is_there and kept is not None:
        message = (
            f"batch {kept.number} of the saved report is not in the chain: the chain was cut or rewritten"
        )
        return Fault("chain", shard, kept.number, None, message)
    return None


def _batches(shard: int) -> Iterator[tuple[int, str, str, int, str, bool]]:
    """The shard's batches as `_BATCHES` selects them, streamed."""
    with connection.connection.cursor(name=f"chain_{shard}") as stream:
        stream.itersize = 200
        yield from stream.execute(_BATCHES, [shard])


def _look_closer(cursor: CursorWrapper, shard: int, number: int) -> tuple[Fault | None, int]:
    """The first faulty row of a batch, and how many of its rows are in the database."""
    cursor.execute(_ONE_BATCH, [shard, number])
    present = 0
    for request_id, missing, same, month_is_there in cursor.fetchall():
        where = f"row {request_id} of shard {shard}, batch {number}"
        if missing and month_is_there:
            return Fault("removed", shard, number, request_id, f"{where} is missing"), present
        if not missing and not same:
            return Fault("changed", shard, number, request_id, f"{where} was changed"), present
        present += not missing
    return None, present


def _inserted(cursor: CursorWrapper) -> list[Fault]:
    """The first row that is in no batch."""
    cursor.execute(f"SELECT record.request_id::text {_UNSEALED} ORDER BY record.created_at LIMIT 1")
    return [
        Fault(
            "inserted", None, None, request_id, f"row {request_id} was never sealed: it was inserted by hand"
        )
        for (request_id,) in cursor.fetchall()
    ]


def adopt() -> int:
    """Seal the rows that are in no batch: restored ones, and those from before the chain. Returns how many."""
    adopted = 0
    for shard in range(settings.METER_SHARDS):
        while count := _adopt(shard):
            adopted += count
    return adopted


def _adopt(shard: int) -> int:
    named: dict[str, Any] = {"shard": shard, "shards": settings.METER_SHARDS, "most": _ADOPTED_AT_ONCE}
    with transaction.atomic(), connection.cursor() as cursor:
        take_turn(cursor, shard)
        cursor.execute(
            f"WITH found AS (SELECT record.* {_UNSEALED} AND record.tenant_id %% %(shards)s = %(shard)s "  # noqa: S608 - our own names
            f"ORDER BY record.request_id LIMIT %(most)s), {sealing('found')} SELECT count(*) FROM found",
            named,
        )
        return int(cursor.fetchone()[0])
