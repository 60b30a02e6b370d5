"""Convert CSV to Parquet, one row group at a time: columns get types, and memory stays bounded."""

import io
from collections.abc import Iterable, Iterator

from gateway_project.ground.extras import require

require("parquet", because="Parquet")

import pyarrow  # noqa: E402 - first the sentence that says where to get it
from pyarrow import csv, parquet  # noqa: E402

GROUP_BYTES = 16 * 1024 * 1024  # of CSV: some 70,000 rows
_INTEGERS = ("key", "http_status", "web_searches", "price_id")
_TYPES = {
    "stream": pyarrow.bool_(),
    "estimated": pyarrow.bool_(),
    "day": pyarrow.date32(),
    "period_start": pyarrow.date32(),
    "created_at": pyarrow.timestamp("us", tz="UTC"),
    "recorded_at": pyarrow.timestamp("us", tz="UTC"),
}


def row_groups(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A Parquet file in pieces, made of CSV in pieces of whole rows. The first piece begins with the header."""
    sink, waiting, header = _Sink(), bytearray(), b""
    writer: parquet.ParquetWriter | None = None
    for piece in pieces:
        rows = piece
        if writer is None:
            end = piece.index(b"\n") + 1
            header, rows = piece[:end], piece[end:]
            writer = parquet.ParquetWriter(sink, _table(header).schema, compression="zstd")
        waiting += rows
        if len(waiting) >= GROUP_BYTES:
            writer.write_table(_table(header + waiting))
            waiting.clear()
            yield sink.take()
    if writer is not None:
        if waiting:
            writer.write_table(_table(header + waiting))
        writer.close()
        yield sink.take()


def _table(text: bytes) -> pyarrow.Table:
    names = text[: text.index(b"\n")].decode().split(",")
    return csv.read_csv(
        io.BytesIO(text),
        read_options=csv.ReadOptions(block_size=len(text) + 1, use_threads=False),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types={name: _type(name) for name in names},
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _type(name: str) -> pyarrow.DataType:
    if name in _INTEGERS or name.endswith(("_tokens", "_ms")):
        return pyarrow.int64()
    return pyarrow.decimal128(20, 9) if name.endswith("_usd") else _TYPES.get(name, pyarrow.string())


class _Sink(io.RawIOBase):
    """Buffers what the writer writes until it is taken."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # nothing else is ever written
        self.written += data
        self.position += len(data)
        return len(data)

    def tell(self) -> int:
        return self.position

    def take(self) -> bytes:
        taken = bytes(self.written)
        self.written.clear()
        return taken
