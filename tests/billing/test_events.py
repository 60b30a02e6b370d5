"""The event that the meter writes and the ledger reads."""

import msgspec
import pytest

from billing.events import decode, encode
from billing.usage import Usage
from tests.billing.meter.test_lease import an_event


def test_an_event_comes_back_as_it_was():
    event = msgspec.structs.replace(an_event(), cost_nano=5, usage=Usage(input_tokens=1), tags={"team": "a"})

    assert decode(encode(event)) == event


def test_an_event_of_the_release_before_is_read_with_defaults():
    """Old and new processes write into one stream during an upgrade."""
    fields = msgspec.to_builtins(an_event())
    old = {
        name: fields[name]
        for name in ("request_id", "tenant_id", "key_id", "day", "period_start", "wire", "model")
    }

    assert decode(msgspec.msgpack.encode(old)) == an_event()


def test_an_event_of_the_release_after_is_read_without_its_new_fields():
    fields = msgspec.to_builtins(an_event())

    assert decode(msgspec.msgpack.encode(fields | {"new_column": 1})) == an_event()


def test_what_is_no_event_is_refused():
    with pytest.raises(msgspec.DecodeError):
        decode(b"\xc1")
