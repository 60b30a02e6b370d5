"""How a policy edit reaches every process by the next request: new tokens in Redis once it is committed.

Every write through the ORM ends here. Raw SQL, and a process that dies between its commit and Redis, are
covered by the outbox: database triggers write a `PolicyChange` row, which the ledger process replays.
"""

import logging
import uuid
from typing import Any, TypeVar

from django.apps import apps
from django.db import models, transaction
from django.utils import timezone

from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import every_shard, shard_key, tenant_key

logger = logging.getLogger(__name__)
Row = TypeVar("Row", bound=models.Model)


def changed(tenant_ids: set[int] | None) -> None:
    """Put new policy tokens for these tenants, or for all (`None`), once this transaction commits."""
    transaction.on_commit(lambda: _announce(tenant_ids))


def _announce(tenant_ids: set[int] | None) -> None:
    try:
        put_tokens(tenant_ids)
    except STORE_ERRORS:
        # Nothing is admitted while Redis is away; the outbox puts the tokens once it is back.
        logger.warning("policy change not announced; the outbox will")


def put_tokens(tenant_ids: set[int] | None) -> None:
    """Put new tokens into Redis. They are random, so that no flush or restart can bring an old one back."""
    with store().pipeline(transaction=False) as pipeline:
        if tenant_ids is None:
            for shard in every_shard():
                pipeline.hset(shard_key(shard), "policy", uuid.uuid4().hex)
        else:
            for tenant_id in sorted(tenant_ids):
                pipeline.hset(tenant_key(tenant_id), "policy", uuid.uuid4().hex)
        pipeline.execute()


def replay_policy_changes(*, limit: int = 1000) -> int:
    """Put tokens for up to `limit` outbox rows that are not applied yet, and mark those. Returns how many."""
    outbox = apps.get_model("tenants", "PolicyChange")._default_manager
    with transaction.atomic():
        rows = list(
            outbox.select_for_update(skip_locked=True)
            .filter(applied_at=None)
            .order_by("id")[:limit]
            .values_list("id", "tenant_id")
        )
        if not rows:
            return 0
        tenant_ids = {tenant_id for _, tenant_id in rows if tenant_id is not None}
        if any(tenant_id is None for _, tenant_id in rows):
            put_tokens(None)
        if tenant_ids:
            put_tokens(tenant_ids)
        outbox.filter(id__in=[row_id for row_id, _ in rows]).update(applied_at=timezone.now())
    return len(rows)


class PolicyQuerySet(models.QuerySet[Row]):
    """Bulk writes, which bypass `save()`, count as a change for everyone: finding whose rows they met costs a query."""

    def update(self, **values: Any) -> int:
        with transaction.atomic(using=self.db):
            count = super().update(**values)
            changed(None)
        return count

    update.alters_data = True  # type: ignore[attr-defined]  # Django's mark for templates

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> list[Row]:
        with transaction.atomic(using=self.db):
            rows = super().bulk_create(objs, *args, **kwargs)
            changed(None)
        return rows

    def delete(self) -> tuple[int, dict[str, int]]:
        with transaction.atomic(using=self.db):
            result = super().delete()
            changed(None)
        return result

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class PolicyModel(models.Model):
    """A row that policy snapshots are made of. `concerns` returns whose: tenant ids, or `None` for everyone."""

    objects = PolicyQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        with transaction.atomic():
            super().save(*args, **kwargs)
            changed(self.concerns())

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        concerned = self.concerns()
        with transaction.atomic():
            result = super().delete(*args, **kwargs)
            changed(concerned)
        return result

    def concerns(self) -> set[int] | None:
        return None
