"""What a process could tell a Redis that lost everything."""

import pytest

from billing.meter.journal import RecoveryJournal, Settlement
from billing.meter.scripts import BEAT, BeatArguments, BeatKeys

pytestmark = pytest.mark.django_db(transaction=True)


def test_memory_keeps_what_is_younger_than_the_oldest_entry():
    memory = RecoveryJournal()
    for number in range(4):
        call = BEAT.call(BeatKeys("shard", "workers", "usage"), BeatArguments("w"))
        memory.settled(Settlement(str(number), 0, b"", call, call, entry=(1000, number)))

    memory.drained(0, (1000, 2))

    assert [each.request_id for each in memory.take_settles(0)] == ["2", "3"]
