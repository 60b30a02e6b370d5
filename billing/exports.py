"""The ledger as files: streamed by PostgreSQL's COPY, with control totals, a digest and a log entry each.

A file is right when its rows, totals and SHA-256 are those of its `UsageExport`; `manage.py verify_export`
computes them from the ledger anew. A run that ends early is marked failed, and its transfer cut, not ended.
"""

import hashlib
import tempfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from billing.models import UsageExport
from billing.models.usage_export import ExportStatus
from gateway_project.errors import TenantryError

PIECE_BYTES = 256 * 1024
FORMATS = ("csv", "csv.gz", "parquet")


class BadExport(TenantryError):
    """A filter, column or format that does not exist."""

    code = "invalid_request"
    status = 400
    type = "invalid_request_error"


class Filter(msgspec.Struct, frozen=True):
    """Which rows: `since` is included, `until` is not. `None` and empty mean all."""

    tenant: str = ""
    model: str = ""
    key: int | None = None
    status: str = ""
    end_user: str = ""
    tag: str = ""  # name=value
    since: datetime | None = None
    until: datetime | None = None


def _text(column: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return (
        f"CASE WHEN left({column}, 1) IN ('=', '+', '-', '@', E'\\t', E'\\r') "
        f"THEN '''' || {column} ELSE {column} END"
    )


_MOMENT = "to_char({}, 'YYYY-MM-DD\"T\"HH24:MI:SS.USTZH:TZM')"
# Column -> SQL over `u` (ledger) and `t` (tenant, which a row may have outlived).
COLUMNS = {
    "request_id": "u.request_id",
    "created_at": _MOMENT.format("u.created_at"),
    "tenant": "COALESCE(t.slug, 'tenant-' || u.tenant_id)",
    "key": "u.api_key_id",
    "end_user": _text("u.end_user"),
    "wire": "u.wire",
    "model_requested": _text("u.model_requested"),
    "model": _text("u.model"),
    "route": "u.route",
    "stream": "CASE WHEN u.stream THEN 'true' ELSE 'false' END",
    "status": "u.status",
    "http_status": "u.http_status",
    "input_tokens": "u.input_tokens",
    "output_tokens": "u.output_tokens",
    "cache_read_tokens": "u.cache_read_tokens",
    "cache_write_5m_tokens": "u.cache_write_5m_tokens",
    "cache_write_1h_tokens": "u.cache_write_1h_tokens",
    "web_searches": "u.web_searches",
    "cost_usd": "u.cost_usd",
    "estimated": "CASE WHEN u.estimated THEN 'true' ELSE 'false' END",
    "tags": "CASE WHEN u.tags = '{}'::jsonb THEN '' ELSE (SELECT string_agg(key || '=' || value, ';' "
    "ORDER BY key) FROM jsonb_each_text(u.tags)) END",
    "latency_ms": "u.latency_ms",
    "ttft_ms": "u.ttft_ms",
    "upstream_request_id": _text("u.upstream_request_id"),
    "price_id": "u.price_id",
    "upstream_cost_usd": "u.upstream_cost_usd",
    "day": "u.day",
    "period_start": "u.period_start",
    "session": _text("u.session"),
    "run_id": _text("u.run_id"),
    "note": _text("u.note"),
    "model_preferred": _text("u.model_preferred"),
    "saved_usd": "u.saved_usd",
    "recorded_at": _MOMENT.format("u.recorded_at"),
}
DEFAULT_COLUMNS = tuple(COLUMNS)[:25]
_SUMMED = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "web_searches",
    "cost_usd",
)


def begin(
    wanted: Filter,
    *,
    columns: Sequence[str] = DEFAULT_COLUMNS,
    zone: str = "UTC",
    file_format: str = "csv",
    created_by: Any = None,
) -> UsageExport:
    """Log an export that is about to run. Raises BadExport."""
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise BadExport(f"There is no column {unknown[0]!r}; columns are {', '.join(COLUMNS)}.")
    if file_format not in FORMATS:
        raise BadExport(f"There is no format {file_format!r}; formats are {', '.join(FORMATS)}.")
    if file_format == "parquet" and not _has_pyarrow():
        raise BadExport("Parquet needs pyarrow: install the 'parquet' extra.")
    if wanted.tag and "=" not in wanted.tag:
        raise BadExport("tag: use name=value.")
    return UsageExport.objects.create(
        created_by=created_by,
        format=file_format,
        filters=msgspec.to_builtins(msgspec.structs.asdict(wanted)),
        columns=list(columns),
        timezone=zone,
    )


def pieces(export: UsageExport) -> Generator[bytes, None, None]:
    """The file, in pieces. The log entry is complete only once the last of them was taken."""
    try:
        yield from _FORMATTED[export.format](export)
    except BaseException as error:
        # GeneratorExit, too: the caller left in the middle.
        _close(export, ExportStatus.FAILED, error=f"{type(error).__name__}: {error}"[:500])
        raise


def verify(export: UsageExport) -> list[str]:
    """What differs between a complete export and the ledger as it is now; empty when nothing does."""
    digest, rows = hashlib.sha256(), -1
    with transaction.atomic():
        totals = control_totals(_filter(export))
        for piece in _copy(export):
            digest.update(piece)
            rows += piece.count(b"\n")
    found = {"rows": totals.pop("rows"), "totals": totals, "digest": digest.hexdigest()}
    return [
        f"{name}: the file has {getattr(export, name)}, the ledger {value}"
        for name, value in found.items()
        if getattr(export, name) != value
    ]


def control_totals(wanted: Filter) -> dict[str, Any]:
    """Rows, tokens of each kind, searches and cost of what the filter finds; money as text."""
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
        # The index is of rows that have tags at all.
        clauses += ["u.tags <> '{}'", "u.tags @> jsonb_build_object(%s::text, %s::text)"]
        parameters += wanted.tag.split("=", 1)
    return ("WHERE " + " AND ".join(clauses) if clauses else ""), parameters


def _filter(export: UsageExport) -> Filter:
    return msgspec.convert(export.filters, Filter)


def _copy(export: UsageExport) -> Iterator[bytes]:
    """CSV by COPY, in the export's zone. Within a transaction."""
    where, parameters = _where(_filter(export))
    columns = ", ".join(f"{COLUMNS[name]} AS {name}" for name in export.columns)
    query = f"SELECT {columns} {_FROM} {where} ORDER BY u.created_at, u.request_id"
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('timezone', %s, true)", [export.timezone])
        with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)", parameters) as copy:
            gathered = bytearray()
            for part in copy:
                gathered += part
                if len(gathered) >= PIECE_BYTES:
                    yield bytes(gathered)
                    gathered.clear()
            if gathered:
                yield bytes(gathered)


def _csv(export: UsageExport) -> Iterator[bytes]:
    """One snapshot for totals and rows, so that they are of the same ledger."""
    digest = hashlib.sha256()
    with transaction.atomic():
        if not connection.needs_rollback and not _nested():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        totals = control_totals(_filter(export))
        for piece in _copy(export):
            digest.update(piece)
            yield piece
    _close(export, ExportStatus.COMPLETE, digest=digest.hexdigest(), totals=totals)


def _nested() -> bool:
    return len(connection.atomic_blocks) > 1


def _gzipped(export: UsageExport) -> Iterator[bytes]:
    packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for piece in _csv(export):
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


def _parquet(export: UsageExport) -> Iterator[bytes]:
    """Written to a temporary file, since Parquet's index stands at its end; numbers keep their types."""
    import pyarrow
    from pyarrow import csv, parquet

    with tempfile.TemporaryFile() as plain, tempfile.TemporaryFile() as packed:
        for piece in _csv(export):
            plain.write(piece)
        plain.seek(0)
        types = {name: kind for name, kind in _arrow_types(pyarrow).items() if name in export.columns}
        read = csv.open_csv(
            plain,
            convert_options=csv.ConvertOptions(
                column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False
            ),
        )
        with parquet.ParquetWriter(packed, read.schema, compression="zstd") as writer:
            for batch in read:
                writer.write_batch(batch)
        packed.seek(0)
        while piece := packed.read(PIECE_BYTES):
            yield piece


def _arrow_types(pyarrow: Any) -> dict[str, Any]:
    numbers = {name for name in COLUMNS if name.endswith(("_tokens", "_ms"))}
    numbers |= {"key", "http_status", "web_searches", "price_id"}
    return (
        dict.fromkeys(COLUMNS, pyarrow.string())
        | dict.fromkeys(numbers, pyarrow.int64())
        | dict.fromkeys(("cost_usd", "upstream_cost_usd", "saved_usd"), pyarrow.decimal128(20, 9))
        | dict.fromkeys(("stream", "estimated"), pyarrow.bool_())
        | dict.fromkeys(("day", "period_start"), pyarrow.date32())
        | dict.fromkeys(("created_at", "recorded_at"), pyarrow.timestamp("us", tz="UTC"))
    )


def _has_pyarrow() -> bool:
    try:
        import pyarrow  # noqa: F401 - only whether it is there
    except ImportError:
        return False
    return True


def _close(
    export: UsageExport,
    status: str,
    *,
    digest: str = "",
    totals: dict[str, Any] | None = None,
    error: str = "",
) -> None:
    totals = dict(totals or {})
    UsageExport.objects.filter(pk=export.pk).update(
        status=status,
        finished_at=timezone.now(),
        rows=totals.get("rows"),
        totals={name: value for name, value in totals.items() if name != "rows"},
        digest=digest,
        error=error,
    )


_FORMATTED = {"csv": _csv, "csv.gz": _gzipped, "parquet": _parquet}
CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "csv.gz": "application/gzip",
    "parquet": "application/vnd.apache.parquet",
}
