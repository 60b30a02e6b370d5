"""The hash chain, which shows that the ledger was not tampered with."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class LedgerBatch(models.Model):
    """One drained batch of one shard, numbered from 1 without a gap.

    `row_hashes` are the SHA-256 of its rows, 32 bytes each in the order of `request_ids`; `hash` is the hex
    SHA-256 over shard, number, `previous_hash` and `row_hashes`. See `billing/ledger/chain.py`.
    """

    shard = models.PositiveSmallIntegerField()
    number = models.PositiveBigIntegerField()
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)
    rows = models.PositiveIntegerField()
    request_ids = ArrayField(models.UUIDField(), default=list)
    row_hashes = models.BinaryField(default=b"")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "ledger batches"
        ordering = ["shard", "-number"]
        default_permissions = ("view",)
        constraints = [models.UniqueConstraint(fields=["shard", "number"], name="billing_ledgerbatch_unique")]

    def __str__(self) -> str:
        return f"shard {self.shard} batch {self.number}"
