"""Exports as Parquet."""

from decimal import Decimal

import pytest

from billing.exports import export as exports
from billing.exports.export import Filter
from tests.factories import UsageRecordFactory

pytestmark = pytest.mark.django_db


def test_parquet_keeps_the_types():
    from pyarrow import BufferReader, parquet

    UsageRecordFactory(cost_usd=Decimal("0.000000001"), http_status=None)
    content = b"".join(exports.pieces(exports.begin(Filter(), file_format="parquet")))
    read = parquet.read_table(BufferReader(content)).to_pylist()
    assert read[0]["cost_usd"] == Decimal("0.000000001")
    assert read[0]["http_status"] is None
    assert read[0]["created_at"].tzinfo is not None


def test_parquet_is_written_in_row_groups_and_words_are_as_they_are(monkeypatch):
    from pyarrow import BufferReader, parquet

    monkeypatch.setattr("billing.exports.export.PIECE_BYTES", 100)
    monkeypatch.setattr("billing.exports.parquet.GROUP_BYTES", 1000)
    for number in range(20):
        UsageRecordFactory(end_user=f'=1+{number}\n"', tags={"team": "a"} if number else {})
    pieces = list(exports.pieces(exports.begin(Filter(), file_format="parquet")))

    file = parquet.ParquetFile(BufferReader(b"".join(pieces)))
    assert file.num_row_groups == len(pieces) - 1 > 2
    assert [row["end_user"] for row in file.read().to_pylist()] == [f'=1+{n}\n"' for n in range(20)]


def test_parquet_of_nothing_is_a_table_without_rows():
    from pyarrow import BufferReader, parquet

    content = b"".join(exports.pieces(exports.begin(Filter(), file_format="parquet")))
    assert parquet.read_table(BufferReader(content)).num_rows == 0


def test_parquet_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setattr("billing.exports.export.installed", lambda extra: False)
    with pytest.raises(exports.BadExport, match=r"pip install '.\[parquet\]'"):
        exports.begin(Filter(), file_format="parquet")
