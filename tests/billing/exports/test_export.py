"""Exports: right rows, right totals, a digest that the ledger confirms, no half file taken for a whole."""

import csv
import gzip
import hashlib
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from billing.exports import export as exports
from billing.exports.export import Filter
from billing.models import UsageExport
from tests.factories import ModelPriceFactory, TenantFactory, UsageRecordFactory

pytestmark = pytest.mark.django_db


def table(export):
    text = b"".join(exports.pieces(export)).decode()
    return list(csv.DictReader(io.StringIO(text)))


def logged(export):
    return UsageExport.objects.get(pk=export.pk)


def test_a_file_has_every_row_and_its_control_totals():
    tenant = TenantFactory(slug="acme")
    for number in range(150):
        UsageRecordFactory(tenant=tenant, input_tokens=number, cache_read_tokens=3)
    export = exports.begin(Filter(tenant="acme"))

    rows = table(export)

    log = logged(export)
    assert len(rows) == log.rows == 150
    assert sum(int(row["input_tokens"]) for row in rows) == log.totals["input_tokens"]
    assert sum(Decimal(row["cost_usd"]) for row in rows) == Decimal(log.totals["cost_usd"])
    assert log.totals["cache_read_tokens"] == 450
    assert log.status == "complete"


def test_the_digest_is_the_ledgers_own_until_the_ledger_is_changed():
    UsageRecordFactory()
    export = exports.begin(Filter())
    table(export)

    assert exports.verify(logged(export)) == []
    call_command("verify_export", str(export.pk))

    UsageRecordFactory()
    assert [line.partition(":")[0] for line in exports.verify(logged(export))] == ["rows", "totals", "digest"]
    with pytest.raises(CommandError):
        call_command("verify_export", str(export.pk))


def test_rows_of_a_tenant_that_is_gone_are_in_it():
    gone = TenantFactory()
    row = UsageRecordFactory.build(tenant=gone, api_key=None)
    row.tenant_id = 987654
    row.save(force_insert=True)
    [line] = table(exports.begin(Filter()))
    assert line["tenant"] == "tenant-987654"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_texts_are_no_formulas_and_numbers_stay_numbers(start):
    UsageRecordFactory(end_user=f"{start}cmd|' /C calc'!A0", cost_usd=Decimal("0.000000001"))
    [row] = table(exports.begin(Filter()))
    assert row["end_user"].startswith(f"'{start}")
    assert Decimal(row["cost_usd"]) == Decimal("0.000000001")


def test_times_are_in_the_zone_asked_for_with_its_offset():
    UsageRecordFactory(at=datetime(2026, 7, 1, 12, 0, 0, 123000, tzinfo=UTC))
    [row] = table(exports.begin(Filter(), zone="Asia/Kolkata"))
    assert row["created_at"] == "2026-07-01T17:30:00.123000+05:30"


def test_a_filter_by_tag_finds_its_rows_alone():
    UsageRecordFactory(tags={"team": "a", "feature": "x"})
    UsageRecordFactory(tags={"team": "b"})
    [row] = table(exports.begin(Filter(tag="team=a")))
    assert row["tags"] == "feature=x;team=a"


def test_a_file_that_was_not_taken_to_its_end_is_marked_failed():
    for _ in range(3):
        UsageRecordFactory()
    export = exports.begin(Filter())
    taking = exports.pieces(export)
    next(taking)
    taking.close()

    assert logged(export).status == "failed"
    assert logged(export).digest == ""
    with pytest.raises(CommandError, match="file is incomplete"):
        call_command("verify_export", str(export.pk))


def test_a_tag_is_no_formula_either():
    UsageRecordFactory(tags={"=cmd()": "x"})
    [row] = table(exports.begin(Filter()))
    assert row["tags"] == "'=cmd()=x"


def test_a_line_break_in_a_name_is_no_row_of_its_own():
    UsageRecordFactory(end_user="a\nb")
    export = exports.begin(Filter())
    assert len(table(export)) == logged(export).rows == 1
    assert exports.verify(logged(export)) == []


def test_the_price_version_and_every_kind_of_token_are_in_it_by_default():
    price = ModelPriceFactory()
    kinds = {
        "cache_read_tokens": 3,
        "cache_write_5m_tokens": 4,
        "cache_write_1h_tokens": 5,
        "web_searches": 6,
    }
    UsageRecordFactory(price=price, **kinds)
    [row] = table(exports.begin(Filter()))
    assert row["price_id"] == str(price.pk)
    assert {name: int(row[name]) for name in kinds} == kinds


@pytest.mark.parametrize("file_format", ["csv", "csv.gz", "parquet"])
def test_the_files_own_digest_is_of_the_bytes_that_were_sent(file_format):
    UsageRecordFactory()
    export = exports.begin(Filter(), file_format=file_format)
    content = b"".join(exports.pieces(export))
    assert logged(export).file_digest == hashlib.sha256(content).hexdigest()
    assert exports.verify(logged(export)) == []


@pytest.mark.parametrize("file_format", ["csv", "csv.gz", "parquet"])
def test_the_log_is_complete_only_after_the_last_piece(file_format):
    UsageRecordFactory()
    export = exports.begin(Filter(), file_format=file_format)
    for _ in exports.pieces(export):
        assert logged(export).status == "running"
    assert logged(export).status == "complete"


def test_gzip_holds_the_same_file():
    UsageRecordFactory()
    plain, packed = exports.begin(Filter()), exports.begin(Filter(), file_format="csv.gz")
    assert gzip.decompress(b"".join(exports.pieces(packed))) == b"".join(exports.pieces(plain))
    assert logged(plain).digest == logged(packed).digest


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"columns": ["nonsense"]}, "Unknown column"),
        ({"file_format": "xls"}, "Unknown format"),
    ],
)
def test_what_cannot_be_made_is_refused_before_it_begins(options, told):
    with pytest.raises(exports.BadExport, match=told):
        exports.begin(Filter(), **options)
    assert not UsageExport.objects.exists()
