"""The ledger's hash chain, and those who tamper with what it holds."""

import json
from datetime import UTC, datetime
from io import StringIO

import msgspec
import pytest
from django.core.management import call_command
from django.db import connection, transaction

from billing.ledger.posting import Entry, post
from billing.ledger.verify import verify
from tests.billing.ledger.test_posting import an_event
from tests.factories import TenantFactory, UsageRecordFactory, request_id_at

pytestmark = pytest.mark.django_db(transaction=True)


def booked(*sizes, shard=0, **values):
    """Batches of so many rows, as the drain posts them; the rows' ids in the order they are sealed in."""
    tenant = TenantFactory()
    ids = []
    for size in sizes:
        events = [an_event(tenant.pk, cost_nano=5, **values) for _ in range(size)]
        post([Entry(id=f"{number}-0", event=event) for number, event in enumerate(events)], shard=shard)
        ids += sorted(event.request_id for event in events)
    return ids


def tamper(statement, *values):
    """As an administrator of the database can."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement, values)
        assert cursor.rowcount > 0


def faults():
    return [(fault.kind, fault.batch, fault.request_id) for fault in verify().faults]


def test_a_ledger_nobody_touched_is_what_was_written():
    booked(3, 1, 2)
    booked(2, shard=1)

    verdict = verify()

    assert (verdict.ok, verdict.rows, verdict.batches, verdict.archived) == (True, 8, 4, 0)
    assert verdict.heads["0"].number == 3


def test_an_empty_ledger_is_what_was_written():
    assert verify().ok


@pytest.mark.parametrize(
    "change",
    [
        "cost_usd = cost_usd + 0.000000001",
        "note = 'x'",
        'tags = \'{"a": "b"}\'',
        "api_key_id = NULL",
        "recorded_at = recorded_at + interval '1 microsecond'",
        "end_user = upstream_request_id, upstream_request_id = end_user, session = ' '",
    ],
)
def test_a_changed_row_is_named(change):
    ids = booked(2, 3)

    tamper(f"UPDATE billing_usagerecord SET {change} WHERE request_id = %s", ids[3])

    assert faults() == [("changed", 2, ids[3])]


def test_the_first_of_several_changed_rows_is_named():
    ids = booked(2, 3)

    tamper("UPDATE billing_usagerecord SET cost_usd = 0 WHERE request_id IN (%s, %s)", ids[4], ids[1])

    assert faults() == [("changed", 1, ids[1])]


def test_a_removed_row_is_named():
    ids = booked(2, 3)

    tamper("DELETE FROM billing_usagerecord WHERE request_id = %s", ids[2])

    assert faults() == [("removed", 2, ids[2])]


def test_a_row_that_was_inserted_by_hand_is_named():
    booked(2)
    forged = UsageRecordFactory()

    assert faults() == [("inserted", None, str(forged.request_id))]


def test_a_row_that_replaces_another_is_found_out():
    ids = booked(2)
    tamper("DELETE FROM billing_usagerecord WHERE request_id = %s", ids[0])
    forged = UsageRecordFactory()

    assert faults() == [("removed", 1, ids[0]), ("inserted", None, str(forged.request_id))]


def test_a_row_sealed_anew_breaks_the_chain():
    ids = booked(2, 1, 1)
    tamper("UPDATE billing_usagerecord SET cost_usd = 0 WHERE request_id = %s", ids[2])

    tamper(
        "UPDATE billing_ledgerbatch SET row_hashes = (SELECT row_hashes FROM billing_ledgerbatch WHERE number = 3) "
        "WHERE number = 2"
    )

    assert faults() == [("chain", 2, None)]


def test_a_batch_cut_out_with_its_rows_breaks_the_chain():
    ids = booked(1, 1, 1)
    tamper("DELETE FROM billing_usagerecord WHERE request_id = %s", ids[1])
    tamper("DELETE FROM billing_ledgerbatch WHERE number = 2")

    assert ("chain", 2, None) in faults()


def test_a_chain_cut_at_its_end_is_found_out_by_who_kept_its_head(tmp_path):
    ids = booked(1, 1)
    kept = tmp_path / "kept.json"
    kept.write_text(run("--json")[1])
    tamper("DELETE FROM billing_usagerecord WHERE request_id = %s", ids[1])
    tamper("DELETE FROM billing_ledgerbatch WHERE number = 2")

    assert run()[0] == 0
    code, said = run("--against", str(kept))
    assert code == 1
    assert "batch 2" in said


def test_a_chain_that_grew_still_holds_the_head_that_was_kept(tmp_path):
    booked(1)
    kept = tmp_path / "kept.json"
    kept.write_text(run("--json")[1])

    booked(1)

    assert run("--against", str(kept))[0] == 0


def test_months_that_are_no_longer_attached_are_counted_and_no_fault():
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_make_partitions('2031-05-01', 1)")
    tenant = TenantFactory()
    old = [
        msgspec.structs.replace(
            an_event(tenant.pk), request_id=str(request_id_at(datetime(2031, 5, 3, tzinfo=UTC)))
        )
        for _ in range(2)
    ]
    post([Entry(id="1-0", event=event) for event in [*old, an_event(tenant.pk)]], shard=0)
    assert verify().rows == 3

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE billing_usagerecord DETACH PARTITION billing_usagerecord_y2031m05")
    verdict = verify()
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE billing_usagerecord_y2031m05")

    assert (verdict.ok, verdict.rows, verdict.archived) == (True, 1, 2)


def run(*arguments):
    out = StringIO()
    code: int | str | None = 0
    try:
        call_command("verify_ledger", *arguments, stdout=out)
    except SystemExit as stop:
        code = stop.code
    return code, out.getvalue()


def test_the_command_names_the_row_and_exits_with_1():
    ids = booked(2)
    assert run()[0] == 0
    tamper("UPDATE billing_usagerecord SET cost_usd = 0 WHERE request_id = %s", ids[1])

    code, said = run("--json")

    assert code == 1
    assert json.loads(said)["faults"][0]["request_id"] == ids[1]
