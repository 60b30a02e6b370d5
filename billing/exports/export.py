"""Export the ledger as files: streamed by PostgreSQL's COPY, each with control totals, a digest and a log entry.

A file is complete if its rows, totals and SHA-256 are those of its `UsageExport`. `manage.py verify_export` computes
them from the ledger again. A run that ends early is marked failed, and its transfer is aborted, not ended normally.
"""

import hashlib
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from billing.ledger.archive import archived_between
from billing.models import UsageExport
from billing.models.usage_export import ExportStatus
from billing.usage import COUNTS
from gateway_project.ground.errors import TenantryError
from gateway_project.ground.extras import installed, needs

PIECE_BYTES = 256 * 1024
FORMATS = ("csv", "csv.gz", "parquet")


class BadExport(TenantryError):
    """A filter, column or format is not valid; the message says which."""

    code = "invalid_request"
    status = 400
    type = "invalid_request_error"


class Filter(msgspec.Struct, frozen=True):
    """Which rows to export: from `since`, included, until `until`, excluded. `None` and empty mean all."""

    tenant: str = ""
    model: str = ""
    key: int | None = None
    status: str = ""
    end_user: str = ""
    tag: str = ""  # name=value
    since: datetime | None = None
    until: datetime | None = None


_MOMENT = "to_char({}, 'YYYY-MM-DD\"T\"HH24:MI:SS.USTZH:TZM')"
# SQL for each column, over `u` (ledger) and `t` (tenant, which may be gone).
COLUMNS = {
    "request_id": "u.request_id",
    "created_at": _MOMENT.format("u.created_at"),
    "tenant": "COALESCE(t.slug, 'tenant-' || u.tenant_id)",
    "key": "u.api_key_id",
    "end_user": "u.end_user",
    "wire": "u.wire",
    "model_requested": "u.model_requested",
    "model": "u.model",
    "route": "u.route",
    "stream": "CASE WHEN u.stream THEN 'true' ELSE 'false' END",
    "status": "u.status",
    "http_status": "u.http_status",
    **{name: f"u.{name}" for name in COUNTS},
    "cost_usd": "u.cost_usd",
    "estimated": "CASE WHEN u.estimated THEN 'true' ELSE 'false' END",
    "tags": "CASE WHEN u.tags = '{}'::jsonb THEN '' ELSE (SELECT string_agg(key || '=' || value, ';' "
    "ORDER BY key) FROM jsonb_each_text(u.tags)) END",
    "latency_ms": "u.latency_ms",
    "ttft_ms": "u.ttft_ms",
    "upstream_request_id": "u.upstream_request_id",
    "price_id": "u.price_id",
    "upstream_cost_usd": "u.upstream_cost_usd",
    "day": "u.day",
    "period_start": "u.period_start",
    "session": "u.session",
    "run_id": "u.run_id",
    "note": "u.note",
    "model_preferred": "u.model_preferred",
    "saved_usd": "u.saved_usd",
    "recorded_at": _MOMENT.format("u.recorded_at"),
}
# The columns with texts from outside. In a CSV they are changed if they would begin a formula; not in Parquet.
_FOREIGN = {
    "end_user", "model_requested", "model", "tags", "upstream_request_id", "session", "run_id", "note",
    "model_preferred",
}  # fmt: skip
_NO_FORMULA = "regexp_replace({}, E'^(?=[=+@\\\\-\\t\\r\\n])', '''')"
DEFAULT_COLUMNS = tuple(COLUMNS)[:25]
_SUMMED = (*COUNTS, "cost_usd")


def begin(
    wanted: Filter,
    *,
    columns: Sequence[str] = DEFAULT_COLUMNS,
    zone: str = "UTC",
    file_format: str = "csv",
    created_by: Any = None,
) -> UsageExport:
    """Create the log entry of an export that is about to run. Raises BadExport."""
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise BadExport(f"Unknown column {unknown[0]!r}. Choose from: {', '.join(COLUMNS)}.")
    if file_format not in FORMATS:
        raise BadExport(f"Unknown format {file_format!r}. Choose from: {', '.join(FORMATS)}.")
    if file_format == "parquet" and not installed("parquet"):
        raise BadExport(needs("parquet", because="Parquet"))
    if wanted.tag and "=" not in wanted.tag:
        raise BadExport("tag: use name=value.")
    if archived := archived_between(wanted.since, wanted.until):
        raise BadExport(
            f"{', '.join(map(str, archived))} are archived. Restore them, or set 'since' to a later date."
        )
    return UsageExport.objects.create(
        created_by=created_by,
        format=file_format,
        filters=msgspec.to_builtins(msgspec.structs.asdict(wanted)),
        columns=list(columns),
        timezone=zone,
    )


def pieces(export: UsageExport) -> Generator[bytes, None, None]:
    """The file, in pieces. The log entry is complete only after the last one was taken."""
    content, file = _Content(export), hashlib.sha256()
    try:
        for piece in _FORMATTED[export.format](content):
            file.update(piece)
            yield piece
    except BaseException as error:
        # Also for GeneratorExit, when the caller left in the middle.
        _close(export, status=ExportStatus.FAILED, error=f"{type(error).__name__}: {error}"[:500])
        raise
    _close(
        export,
        status=ExportStatus.COMPLETE,
        rows=content.rows,
        totals=content.totals,
        digest=content.digest.hexdigest(),
        file_digest=file.hexdigest(),
    )


def verify(export: UsageExport) -> list[str]:
    """What differs between a complete export and the ledger as it is now; empty if nothing does."""
    content = _Content(export)
    for _ in content:
        pass
    found = {"rows": content.rows, "totals": content.totals, "digest": content.digest.hexdigest()}
    return [
        f"{name}: the file has {getattr(export, name)}, the ledger {value}"
        for name, value in found.items()
        if getattr(export, name) != value
    ]


def control_totals(wanted: Filter) -> dict[str, Any]:
    """The number of rows that match, and their tokens of each kind, searches and cost; money as text."""
    where, parameters = _where(wanted)
    sums = ", ".join(f"COALESCE(SUM(u.{name}), 0)" for name in _SUMMED)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*), {sums} {_FROM} {where}", parameters)
        rows, *values = cursor.fetchone()
    totals = {name: int(value) for name, value in zip(_SUMMED[:-1], values, strict=False)}
    return {"rows": rows, **totals, "cost_usd": f"{values[-1]:.9f}"}


_FROM = "FROM billing_usagerecord u LEFT JOIN tenants_tenant t ON t.id = u.tenant_id"


def _where(wanted: Filter) -> tuple[str, list[Any]]:
    given: list[tuple[str, Any]] = [
        ("t.slug = %s", wanted.tenant or None),
        ("u.model = %s", wanted.model or None),
        ("u.api_key_id = %s", wanted.key),
        ("u.status = %s", wanted.status or None),
        ("u.end_user = %s", wanted.end_user or None),
        ("u.created_at >= %s", wanted.since),
        ("u.created_at < %s", wanted.until),
    ]
    conditions = [(sql, value) for sql, value in given if value is not None]
    parameters = [value for _, value in conditions]
    clauses = [sql for sql, _ in conditions]
    if wanted.tag:
        # The partial index has only rows with tags.
        clauses += ["u.tags <> '{}'", "u.tags @> jsonb_build_object(%s::text, %s::text)"]
        parameters += wanted.tag.split("=", 1)
    return ("WHERE " + " AND ".join(clauses) if clauses else ""), parameters


class _Content:
    """An export's rows as CSV, in pieces of whole rows, and their totals once all were taken."""

    def __init__(self, export: UsageExport) -> None:
        self.export = export
        self.digest = hashlib.sha256()
        self.rows = -1  # so that the header does not count
        self.totals: dict[str, Any] = {}

    def __iter__(self) -> Iterator[bytes]:
        """Totals and rows come from one snapshot of the ledger."""
        with transaction.atomic():
            if len(connection.atomic_blocks) == 1:
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self.totals = control_totals(msgspec.convert(self.export.filters, Filter))
            self.totals.pop("rows")  # counted from the file instead
            gathered = bytearray()
            for row in self._copy():
                self.rows += 1
                gathered += row
                if len(gathered) >= PIECE_BYTES:
                    yield self._noted(gathered)
            if gathered:
                yield self._noted(gathered)

    def _noted(self, gathered: bytearray) -> bytes:
        piece = bytes(gathered)
        self.digest.update(piece)
        gathered.clear()
        return piece

    def _copy(self) -> Iterator[bytes | memoryview]:
        """The header and every row, in the export's time zone. PostgreSQL sends each in a message of its own."""
        where, parameters = _where(msgspec.convert(self.export.filters, Filter))
        columns = ", ".join(f"{self._sql(name)} AS {name}" for name in self.export.columns)
        query = f"SELECT {columns} {_FROM} {where} ORDER BY u.created_at, u.request_id"
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('timezone', %s, true)", [self.export.timezone])
            with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)", parameters) as copy:
                yield from copy

    def _sql(self, name: str) -> str:
        foreign = name in _FOREIGN and self.export.format != "parquet"
        return _NO_FORMULA.format(COLUMNS[name]) if foreign else COLUMNS[name]


def _gzipped(content: _Content) -> Iterator[bytes]:
    packer = zlib.compressobj(
        4, zlib.DEFLATED, 16 + zlib.MAX_WBITS
    )  # level 4 is about as fast as the rows come
    for piece in content:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


def _parquet(content: _Content) -> Iterator[bytes]:
    from billing.exports.parquet import row_groups  # pyarrow is an extra

    return row_groups(content)


def _close(export: UsageExport, **values: Any) -> None:
    UsageExport.objects.filter(pk=export.pk).update(finished_at=timezone.now(), **values)


_FORMATTED: dict[str, Callable[[_Content], Iterator[bytes]]] = {
    "csv": iter,
    "csv.gz": _gzipped,
    "parquet": _parquet,
}
CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "csv.gz": "application/gzip",
    "parquet": "application/vnd.apache.parquet",
}
