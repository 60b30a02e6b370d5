"""Post usage events from the meter's streams into PostgreSQL, each exactly once.

A batch is one transaction: ledger rows and their link in the hash chain, roll-ups, alerts, adjustments, last-used
times. Rows that exist already, from a batch that died between commit and acknowledgement, are skipped by request id.
Everything else is computed from the rows that were really inserted.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any
from uuid import UUID

import msgspec
from django.db import OperationalError, connection, transaction
from psycopg.types.json import Jsonb

from billing.alerts.thresholds import tell_threshold
from billing.events import UsageEvent, decode
from billing.ledger.adjustments import keep_figures
from billing.ledger.chain import sealing, take_turn
from billing.ledger.roll_up import add_to_roll_up
from billing.ledger.tag_usage import add_tags
from billing.models import Adjustment, UsageRecord
from billing.models.adjustment import AdjustmentKind
from billing.request_ids import created_at
from gateway_project.ground.money import NanoUSD, to_usd
from tenants.models import Tenant
from tenants.policy import BudgetMode

logger = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True):
    """One stream entry: its id, the event, and what the meter added (see `billing/events.py`)."""

    id: str
    event: UsageEvent
    crossed: tuple[int, ...] = ()
    spent_nano: NanoUSD = NanoUSD(0)
    late: bool = False


class Batch(msgspec.Struct, frozen=True):
    """How many entries of a batch were inserted, were there already, or came late."""

    inserted: int
    repeated: int
    late: int


def read_entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    """Parse a stream entry. Raises MsgspecError, KeyError or ValueError if it cannot be read."""
    crossed = fields.get(b"crossed", b"").decode()
    return Entry(
        id=entry_id.decode(),
        event=decode(fields[b"e"]),
        crossed=tuple(int(percent) for percent in crossed.split(",") if percent),
        spent_nano=NanoUSD(int(fields.get(b"spent", b"0"))),
        late=b"late" in fields,
    )


def post(entries: Sequence[Entry], *, shard: int) -> Batch:
    """Post a batch of a shard's stream.

    Deadlocks and serialization failures are tried again; other database errors are raised. Raises LookupError for a
    late settle whose orphaned row is not in the ledger yet.
    """
    for attempt in range(5):
        try:
            with transaction.atomic():
                return _post(entries, shard)
        except OperationalError as error:
            state = getattr(error.__cause__, "sqlstate", "")
            if attempt == 4 or state not in ("40001", "40P01"):
                raise
            logger.warning("ledger batch tried again after %s", state)
    raise AssertionError("unreachable")


def _post(entries: Sequence[Entry], shard: int) -> Batch:
    rows = [entry for entry in entries if not entry.late]
    # By id: a repeated settle may have put the same call into the stream twice. The first counts, as between batches.
    by_id: dict[str, Entry] = {}
    for entry in rows:
        by_id.setdefault(entry.event.request_id, entry)
    new_ids = _insert(list(by_id.values()), shard)
    new = [entry for request_id, entry in by_id.items() if request_id in new_ids]
    add_to_roll_up(each.event for each in new)
    add_tags(each.event for each in new)
    _alert(new)
    _touch_keys(new)
    late = [entry for entry in entries if entry.late]
    for entry in late:
        _adjust(entry.event)
    return Batch(inserted=len(new), repeated=len(rows) - len(new), late=len(late))


def _insert(entries: Sequence[Entry], shard: int) -> set[str]:
    """Insert the rows that do not exist yet, sealed as the shard's next batch. Returns their ids."""
    if not entries:
        return set()
    rows = [ledger_row(entry.event) for entry in entries]
    names = ", ".join(rows[0])
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE IF NOT EXISTS ledger_batch (LIKE billing_usagerecord INCLUDING DEFAULTS) "
            "ON COMMIT DELETE ROWS"
        )
        with cursor.copy(f"COPY ledger_batch ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(tuple(row.values()))
        take_turn(cursor, shard)
        cursor.execute(
            f"WITH posted AS (INSERT INTO billing_usagerecord ({names}) SELECT {names} FROM ledger_batch "  # noqa: S608 - our own names
            f"ORDER BY request_id ON CONFLICT DO NOTHING RETURNING *), {sealing('posted')} "
            "SELECT request_id FROM posted",
            {"shard": shard},
        )
        return {str(request_id) for (request_id,) in cursor.fetchall()}


def ledger_row(event: UsageEvent) -> dict[str, Any]:
    """The ledger row of `event`, as a value for each column."""
    return {
        "request_id": UUID(event.request_id),
        "created_at": created_at(event.request_id),
        "tenant_id": event.tenant_id,
        "api_key_id": event.key_id,
        "day": date.fromisoformat(event.day),
        "period_start": date.fromisoformat(event.period_start),
        "end_user": _clean(event.end_user),
        "session": _clean(event.session),
        "run_id": _clean(event.run_id),
        "wire": event.wire,
        "model_requested": _clean(event.model_requested, 100),
        "model": _clean(event.model, 100),
        "route": event.route[:100],
        "stream": event.stream,
        "status": event.status,
        "http_status": event.http_status,
        **msgspec.structs.asdict(event.usage),
        "cost_usd": to_usd(event.cost_nano),
        "upstream_cost_usd": to_usd(event.upstream_cost_nano),
        "price_id": event.price_id,
        "estimated": event.estimated,
        "latency_ms": event.latency_ms,
        "ttft_ms": event.ttft_ms,
        "upstream_request_id": _clean(event.upstream_request_id, 128),
        "tags": Jsonb(event.tags),
        "note": event.note[:500],
        "model_preferred": _clean(event.model_preferred, 100),
        "saved_usd": to_usd(event.saved_nano),
        "text_bytes": event.text_bytes,
        "message_count": event.message_count,
        "tool_count": event.tool_count,
        "keyword": _clean(event.keyword, 100),
    }


def _clean(text: str, most: int = 256) -> str:
    """`text` cut to `most` characters and without NUL, which PostgreSQL would refuse the row for."""
    return text.replace("\0", "")[:most]


def _alert(entries: Iterable[Entry]) -> None:
    """Announce each threshold crossed, in the order of the calls and of the thresholds."""
    crossed = [entry for entry in entries if entry.crossed]
    if not crossed:
        return
    tenants = Tenant.objects.select_related("tier").in_bulk([entry.event.tenant_id for entry in crossed])
    for entry in crossed:
        event, tenant = entry.event, tenants.get(entry.event.tenant_id)
        if tenant is None or event.budget_nano is None:
            continue
        for percent in entry.crossed:
            tell_threshold(
                tenant=tenant,
                percent=percent,
                budget_usd=to_usd(event.budget_nano),
                spent_usd=to_usd(entry.spent_nano),
                period_start=date.fromisoformat(event.period_start),
                crossed_at=created_at(event.request_id),
                request_id=UUID(event.request_id),
            )


def _touch_keys(entries: Sequence[Entry]) -> None:
    """Update each key's last use once a batch, instead of once a request."""
    used: dict[int, Any] = {}
    for entry in entries:
        if entry.event.key_id is not None:
            moment = created_at(entry.event.request_id)
            used[entry.event.key_id] = max(used.get(entry.event.key_id, moment), moment)
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE tenants_apikey SET last_used_at = greatest(last_used_at, %s) WHERE id = %s",
            [(moment, key_id) for key_id, moment in sorted(used.items())],
        )


def _adjust(event: UsageEvent) -> None:
    """Book, once, the difference between what a call cost and what its reaped lease was charged."""
    rows = UsageRecord.objects.filter(request_id=event.request_id)
    booked = rows.values_list("cost_usd", "upstream_cost_usd", "model").first()
    if booked is None:
        raise LookupError(f"orphan {event.request_id} is not in the ledger yet")
    cost, upstream_cost, model = booked
    _, new = Adjustment.objects.get_or_create(
        tenant_id=event.tenant_id,
        kind=AdjustmentKind.LATE_SETTLE,
        request_id=event.request_id,
        defaults={
            "period_start": date.fromisoformat(event.period_start),
            "amount_usd": to_usd(event.cost_nano) - cost,
            "reason": "The call ended after it had been settled at its reserved cost.",
            "details": {
                "late": {
                    "model": model,
                    "day": created_at(event.request_id).date().isoformat(),
                    "upstream_usd": str(to_usd(event.upstream_cost_nano) - upstream_cost),
                }
            },
        },
    )
    if new:
        tenants = Tenant.objects.select_for_update(of=("self",)).select_related("tier")
        for tenant in tenants.filter(pk=event.tenant_id, budget_mode=BudgetMode.PREPAID.value):
            keep_figures(tenant)
