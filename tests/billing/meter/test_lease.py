"""A lease, as it is written into Redis and read back by whoever settles it."""

import msgspec
import pytest

from billing.events import UsageEvent
from billing.meter.lease import UNLIMITED, Lease, flags, head, read, stored
from tests.billing.meter.test_admission import an_offer

COUNTERS = ("b:2026-01-01", "k:3:2026-01-01", "", "r:nightly")


def an_event(model="sonnet"):
    return UsageEvent(
        request_id="id",
        tenant_id=7,
        key_id=3,
        day="2026-01-01",
        period_start="2026-01-01",
        wire="anthropic",
        model=model,
    )


def a_lease(**values):
    given = {
        "request_id": "id",
        "tenant_id": 7,
        "hold_nano": 500,
        "held_tokens": 20,
        "counters": COUNTERS,
        "day_counter": "d:2026-01-01",
        "offer": an_offer(),
        "max_tokens": 100,
        "clamped": False,
        "event": an_event(),
    }
    return Lease(**{**given, **values})


def test_what_is_written_is_read_back_with_the_event_of_the_candidate_that_serves():
    metadata = stored("worker:1", [an_event("opus"), an_event("sonnet")], "80:100")
    lease = a_lease(index=2, output_tokens=9, admitted_us=12, metadata=metadata)

    orphan = read("id", 7, lease.text())

    assert (orphan.hold_nano, orphan.held_tokens, orphan.output_tokens, orphan.admitted_us) == (
        500,
        20,
        9,
        12,
    )
    assert (orphan.counters, orphan.day_counter) == (COUNTERS, "d:2026-01-01")
    assert (orphan.worker, orphan.event.model, orphan.alert_lines) == ("worker:1", "sonnet", "80:100")


def test_a_lease_that_is_broken_is_an_error_and_no_guess():
    with pytest.raises(ValueError, match="unpack"):
        read("id", 7, b"1|2\n")


@pytest.mark.parametrize(
    ("cost", "budgets", "overrun"),
    [
        (500, (1000, None, None, None), 0),
        (501, (1000, None, None, None), 1),
        (501, UNLIMITED, 0),
    ],
)
def test_only_a_limited_call_overruns_its_hold(cost, budgets, overrun):
    assert a_lease(budgets=budgets).overrun_nano(cost) == overrun


def test_counters_that_are_kept_are_flagged_in_order():
    assert a_lease().kept == "1101"
    assert flags(("a", "", "", "b")) == "1001"
    assert head(COUNTERS, "d:x") == "b:2026-01-01|k:3:2026-01-01||r:nightly|d:x"


@pytest.mark.parametrize(("first", "held"), [(None, 100), (30, 30), (300, 100)])
def test_a_stream_holds_for_its_first_tokens_and_never_for_more_than_all(first, held):
    assert msgspec.structs.replace(an_offer(), first_tokens=first).held_tokens == held
