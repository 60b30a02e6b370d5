"""The drain's loop: read the streams, post, acknowledge. Any number of drains may run."""

import logging
import os
import time
import uuid
from typing import Any

import msgspec
import redis
from django.db import DatabaseError, close_old_connections

from billing.ledger.posting import Batch, Entry, post, read_entry
from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import every_shard, poison_stream, usage_stream

logger = logging.getLogger(__name__)
GROUP = "ledger"
BATCH = 2000
CLAIM_AFTER_MS = 10_000


class Drain:
    """One consumer of every shard's stream."""

    def __init__(self) -> None:
        self.consumer = f"{os.uname().nodename}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        self._store = store()
        self._claimed_at = 0.0
        self._whole = False  # the last step was completed: no entry is read but not acknowledged
        for shard in every_shard():
            self._make_group(usage_stream(shard))

    def step(self) -> int:
        """Drain the streams of all shards, and now and then what a dead consumer left. Returns how many entries.

        Raises `RECOVERABLE`, after which the next step tries again.
        """
        close_old_connections()
        whole, self._whole = self._whole, False
        done = 0
        claim = time.monotonic() - self._claimed_at > CLAIM_AFTER_MS / 2000
        for shard in every_shard():
            stream = usage_stream(shard)
            if claim:
                _, entries, *_ = self._store.xautoclaim(
                    stream, GROUP, self.consumer, CLAIM_AFTER_MS, count=BATCH
                )
                done += self._post(shard, entries)
            if not whole:
                done += self._post(shard, self._read(stream, "0"))
            done += self._post(shard, self._read(stream, ">"))
        self._whole = True
        if claim:
            self._claimed_at = time.monotonic()
        return done

    def _read(self, stream: str, since: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """With `>` entries that nobody has read; with `0` those this consumer read and did not acknowledge."""
        try:
            answer: Any = self._store.xreadgroup(GROUP, self.consumer, {stream: since}, count=BATCH)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self._make_group(stream)
            return []
        if not answer:
            return []
        [(_, entries)] = answer.items() if isinstance(answer, dict) else answer
        if entries and isinstance(entries[0], list):
            [entries] = entries
        return list(entries)

    def _post(self, shard: int, raw: list[tuple[bytes, dict[bytes, bytes]]]) -> int:
        if not raw:
            return 0
        stream, poison = usage_stream(shard), poison_stream(shard)
        entries: list[Entry] = []
        with self._store.pipeline(transaction=True) as pipeline:
            for entry_id, fields in raw:
                try:
                    entries.append(read_entry(entry_id, fields))
                except (msgspec.MsgspecError, KeyError, ValueError, TypeError):
                    # Set aside whole, counted and shown: it must not block the others, nor be lost.
                    logger.exception("usage event %s cannot be read; kept in %s", entry_id, poison)
                    pipeline.xadd(poison, fields or {b"empty": b"1"})
            batch = post(entries, shard=shard) if entries else Batch(inserted=0, repeated=0, late=0)
            ids = [entry_id for entry_id, _ in raw]
            pipeline.xack(stream, GROUP, *ids)
            pipeline.xdel(stream, *ids)
            pipeline.execute()
        if batch.repeated:
            logger.info("%d entries of %s were in the ledger already", batch.repeated, stream)
        return len(raw)

    def _make_group(self, stream: str) -> None:
        try:
            self._store.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise


def drain_all() -> int:
    """Drain until nothing is left, for tests and a clean stop. Returns how many entries."""
    drain, total = Drain(), 0
    while done := drain.step():
        total += done
    return total


# What a drain survives by waiting: a store that is away, or an orphan whose row is still on its way (LookupError).
RECOVERABLE = (DatabaseError, *STORE_ERRORS, OSError, LookupError)
